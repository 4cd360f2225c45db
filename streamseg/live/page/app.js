// The page: shows the picture, and keeps the controls and the run's state object alike.
"use strict";

const FIRST_FRAME_MS = 5000;
const RETRY_MS = 2000;
const SETTLE_MS = 120;
const NOTICE_MS = 8000;
const SMOOTHING = { motion: "Along the motion", "one-euro": "Adaptive (one-euro)", ema: "Even (ema)", none: "None" };
const COLOUR = /^#[0-9a-f]{6}$/;

const byId = (id) => document.getElementById(id);
const form = byId("controls");

// --- Requests -------------------------------------------------------------------------------------------------------

let pending = 0;

async function request(path, options) {
  const response = await fetch(path, options).catch(() => {
    throw new Error("streamseg does not answer; is it still running?");
  });
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({}));
    throw new Error(error ?? `streamseg answered ${response.status}`);
  }
  return response;
}

async function change(values) {
  pending += 1;
  try {
    const response = await request("/api/state", { method: "POST", body: JSON.stringify(values) });
    const state = await response.json();
    if (byId("notice").classList.contains("error")) tell("");
    if (pending === 1) show(state);
  } catch (error) {
    tell(error.message, true);
    if (pending === 1 && shown) show(shown);
  } finally {
    pending -= 1;
  }
}

// --- Notices --------------------------------------------------------------------------------------------------------

let noticeTimer = 0;

function tell(text, isError = false) {
  const notice = byId("notice");
  notice.textContent = text;
  notice.classList.toggle("error", isError);
  clearTimeout(noticeTimer);
  if (text && !isError) noticeTimer = setTimeout(() => (notice.textContent = ""), NOTICE_MS);
}

// --- State to controls ----------------------------------------------------------------------------------------------

let shown = null;
let listed = "";
let noticed = "";

function show(state) {
  shown = state;
  const { settings, choices, notice } = state;
  listBackgrounds(choices.backgrounds);
  listOptions(byId("smooth"), choices.smooth, SMOOTHING);
  listOptions(byId("model"), [...new Set([...choices.models, settings.model])], {});
  byId("model-row").hidden = choices.models.length === 0;
  for (const control of form.querySelectorAll("[data-setting]")) {
    const value = settings[control.dataset.setting];
    if (control.type === "checkbox") control.checked = value;
    else control.value = value;
  }
  for (const button of document.querySelectorAll("[data-toggle]")) {
    button.setAttribute("aria-pressed", settings[button.dataset.toggle]);
  }
  byId("recording-badge").hidden = !settings.recording;
  showBackground(settings);
  if (notice !== noticed) tell((noticed = notice), true);
}

function showBackground(settings) {
  const isColour = COLOUR.test(settings.bg);
  const tile = form.querySelector(`input[name=bg][value="${CSS.escape(isColour ? "colour" : settings.bg)}"]`);
  for (const radio of form.querySelectorAll("input[name=bg]")) radio.checked = radio === tile;
  if (isColour) byId("colour").value = settings.bg;
  byId("swatch").style.backgroundColor = byId("colour").value;
  byId("colour-row").hidden = !isColour;
  byId("blur-row").hidden = settings.bg !== "blur";
  byId("fit-row").hidden = isColour || ["none", "blur"].includes(settings.bg);
  byId("blur").value = Math.log2(settings.blur);
  showBlur();
}

function showBlur() {
  const text = `${Number((2 ** byId("blur").value).toPrecision(2))}×`;
  byId("blur-value").textContent = text;
  byId("blur").setAttribute("aria-valuetext", text);
}

function listOptions(select, values, labels) {
  if ([...select.options].map((option) => option.value).join() === values.join()) return;
  select.replaceChildren(...values.map((value) => new Option(labels[value] ?? value, value)));
}

function listBackgrounds(backgrounds) {
  const list = JSON.stringify(backgrounds);
  if (list === listed) return;
  listed = list;
  const focused = document.activeElement?.value;
  for (const tile of form.querySelectorAll(".tile.file")) tile.remove();
  byId("add").before(...backgrounds.map(fileTile));
  if (focused && document.activeElement === document.body) {
    form.querySelector(`input[name=bg][value="${CSS.escape(focused)}"]`)?.focus();
  }
}

function fileTile({ id, name, is_video }) {
  const tile = Object.assign(document.createElement("label"), { className: "tile file", title: name });
  const radio = Object.assign(document.createElement("input"), { type: "radio", name: "bg", value: id });
  const thumb = Object.assign(document.createElement("span"), { className: is_video ? "thumb video" : "thumb" });
  const image = Object.assign(document.createElement("img"), { alt: "", loading: "lazy" });
  image.src = `/api/thumbnail?${new URLSearchParams({ id })}`;
  image.addEventListener("error", () => image.remove());
  thumb.append(image);
  const label = Object.assign(document.createElement("span"), { className: "name", textContent: name });
  tile.append(radio, thumb, label);
  return tile;
}

// --- Controls to state ----------------------------------------------------------------------------------------------

let settleTimer = 0;

function settled(values) {
  clearTimeout(settleTimer);
  settleTimer = setTimeout(() => change(values()), SETTLE_MS);
}

form.addEventListener("submit", (event) => event.preventDefault());

form.addEventListener("change", ({ target }) => {
  if (target.name === "bg") {
    change({ bg: target.value === "colour" ? byId("colour").value : target.value });
  } else if (target.dataset.setting) {
    change({ [target.dataset.setting]: target.type === "checkbox" ? target.checked : target.value });
  } else if (target === byId("file") && target.files.length) {
    upload(target.files[0]);
    target.value = "";
  }
});

byId("blur").addEventListener("input", () => {
  showBlur();
  settled(() => ({ bg: "blur", blur: 2 ** byId("blur").value }));
});

byId("colour").addEventListener("input", () => {
  byId("swatch").style.backgroundColor = byId("colour").value;
  settled(() => ({ bg: byId("colour").value }));
});

for (const button of document.querySelectorAll("[data-toggle]")) {
  button.addEventListener("click", () => {
    const isOn = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", !isOn);
    change({ [button.dataset.toggle]: !isOn });
  });
}

byId("snapshot").addEventListener("click", async () => {
  try {
    const response = await request("/snapshot.png");
    const name = /filename="([^"]+)"/.exec(response.headers.get("content-disposition"))?.[1] ?? "snapshot.png";
    const link = Object.assign(document.createElement("a"), { download: name });
    link.href = URL.createObjectURL(await response.blob());
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), RETRY_MS);
    tell(`Snapshot saved as ${name}`);
  } catch (error) {
    tell(error.message, true);
  }
});

// --- Files ----------------------------------------------------------------------------------------------------------

async function upload(file) {
  tell(`Preparing ${file.name}…`);
  clearTimeout(noticeTimer);
  form.setAttribute("aria-busy", "true");
  try {
    const query = new URLSearchParams({ name: file.name });
    const response = await request(`/api/backgrounds?${query}`, { method: "POST", body: file });
    const { id } = await response.json();
    await change({ bg: id });
    tell(`${file.name} is the background now`);
  } catch (error) {
    tell(`${file.name}: ${error.message}`, true);
  } finally {
    form.removeAttribute("aria-busy");
  }
}

let dragDepth = 0;
const holdsFile = (event) => event.dataTransfer?.types.includes("Files");

for (const [name, step] of [["dragenter", 1], ["dragleave", -1]]) {
  document.addEventListener(name, (event) => {
    if (!holdsFile(event)) return;
    dragDepth += step;
    byId("drop").hidden = dragDepth <= 0;
  });
}
document.addEventListener("dragover", (event) => holdsFile(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!holdsFile(event)) return;
  event.preventDefault();
  dragDepth = 0;
  byId("drop").hidden = true;
  if (event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
});

// --- The picture ----------------------------------------------------------------------------------------------------

const video = byId("video");
const mjpeg = byId("mjpeg");
let peer = null;

function connected(state, text) {
  byId("connection").dataset.state = state;
  byId("connection-text").textContent = text;
}

function reveal(element) {
  for (const other of [video, mjpeg, byId("placeholder")]) other.hidden = other !== element;
}

async function play() {
  stop();
  if (new URLSearchParams(location.search).has("mjpeg") || !window.RTCPeerConnection) return playMjpeg();
  try {
    await playWebRtc();
    connected("live", "Live, WebRTC");
  } catch {
    playMjpeg();
  }
}

function stop() {
  peer?.close();
  peer = null;
  video.srcObject = null;
  mjpeg.removeAttribute("src");
}

async function playWebRtc() {
  const own = (peer = new RTCPeerConnection());
  const { receiver } = own.addTransceiver("video", { direction: "recvonly" });
  if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
  own.addEventListener("track", ({ track }) => (video.srcObject = new MediaStream([track])));
  await own.setLocalDescription(await own.createOffer());
  await gathered(own);
  const response = await request("/api/webrtc", { method: "POST", body: own.localDescription.sdp });
  await own.setRemoteDescription({ type: "answer", sdp: await response.text() });
  reveal(video);
  await firstFrame(own);
  own.addEventListener("connectionstatechange", () => {
    if (own === peer && ["failed", "disconnected"].includes(own.connectionState)) play();
  });
}

function gathered(connection) {
  return new Promise((resolve) => {
    const look = () => connection.iceGatheringState === "complete" && resolve();
    connection.addEventListener("icegatheringstatechange", look);
    setTimeout(resolve, RETRY_MS);
    look();
  });
}

function firstFrame(connection) {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("no frame came")), FIRST_FRAME_MS);
    connection.addEventListener("connectionstatechange", () => connection.connectionState === "failed" && reject());
    video.addEventListener("loadeddata", resolve, { once: true });
  });
}

function playMjpeg() {
  stop();
  mjpeg.src = "/feed.mjpeg";
  reveal(mjpeg);
  connected("live", "Live, MJPEG");
}

mjpeg.addEventListener("error", () => {
  if (!mjpeg.hasAttribute("src")) return;
  reveal(byId("placeholder"));
  setTimeout(() => mjpeg.hasAttribute("src") && playMjpeg(), RETRY_MS);
});

// --- State from the server ------------------------------------------------------------------------------------------

function listen() {
  const events = new EventSource("/api/events");
  events.addEventListener("open", play);
  events.addEventListener("settings", ({ data }) => pending || show(JSON.parse(data)));
  events.addEventListener("figures", ({ data }) => showFigures(JSON.parse(data)));
  events.addEventListener("error", () => {
    connected("lost", "Connection lost");
    reveal(byId("placeholder"));
    stop();
    if (events.readyState === EventSource.CLOSED) {
      tell("streamseg was started again, or is busy: open the address that it printed", true);
    }
  });
}

function showFigures(figures) {
  const texts = { ...figures, fps: figures.fps.toFixed(1), seen: figures.frames + figures.dropped };
  texts.engine = [figures.engine, `${figures.width_px}×${figures.height_px}`].filter(Boolean).join(", ");
  for (const element of document.querySelectorAll("[data-figure]")) {
    const value = texts[element.dataset.figure];
    element.textContent = typeof value === "number" ? value.toLocaleString("en") : value;
  }
}

listen();
