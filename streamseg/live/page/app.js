// The page: shows the picture, and keeps the controls and the run's state object alike.
"use strict";

const FIRST_FRAME_MS = 5000;
const RETRY_MS = 2000;
const SETTLE_MS = 120;
const NOTICE_MS = 8000;
const COLOUR = /^#[0-9a-f]{6}$/;
const GRADIENT = "gradient:";

const byId = (id) => document.getElementById(id);
const form = byId("controls");

// --- Requests -------------------------------------------------------------------------------------------------------

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

// Changes go one after another, so that the last one wins. What the server says meanwhile is older than what the user
// sees on the controls; so it is asked for when all have gone.
let pending = 0;
let lastChange = Promise.resolve();
let settleTimer = 0;
let settling = {};

function change(values) {
  const all = { ...settling, ...values };
  clearTimeout(settleTimer);
  [settleTimer, settling] = [0, {}];
  pending += 1;
  lastChange = lastChange.then(() => send(all)).then(settle);
  return lastChange;
}

// Sliders and colours: the last value, once they rest for a moment.
function changeSoon(values) {
  Object.assign(settling, values);
  clearTimeout(settleTimer);
  settleTimer = setTimeout(change, SETTLE_MS);
}

async function send(values) {
  try {
    await request("/api/state", { method: "POST", body: JSON.stringify(values) });
    if (byId("notice").classList.contains("error")) tell("");
  } catch (error) {
    tell(error.message, true);
  }
}

async function settle() {
  pending -= 1;
  if (isChanging()) return;
  const response = await request("/api/state").catch(() => null); // What is wrong has been told.
  if (response) showUnlessChanging(await response.json());
}

const isChanging = () => pending > 0 || settleTimer !== 0;
const showUnlessChanging = (state) => isChanging() || show(state);

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

// id -> the slider's value by the settings, that value in words, and the change of the settings that it asks for.
const SLIDERS = {
  blur: [({ blur }) => Math.log2(blur), (value) => `${Number((2 ** value).toPrecision(2))}×`, (value) => ({ bg: "blur", blur: 2 ** value })],
  feather: [({ feather }) => feather, (value) => `${value} px`, (value) => ({ feather: value })],
  light_wrap: [({ light_wrap }) => light_wrap, percent, (value) => ({ light_wrap: value })],
  across: [({ keep }) => 100 * (keep?.[0] ?? 0.5), (value) => percent(value / 100), keptPlace],
  down: [({ keep }) => 100 * (keep?.[1] ?? 0.5), (value) => percent(value / 100), keptPlace],
};

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

let shown = null;
let listed = "";
let noticed = 0;

function show(state) {
  shown = state;
  const { settings, choices, notice } = state;
  listBackgrounds(choices.backgrounds);
  listOptions(byId("model"), [...new Set([...choices.models, settings.model])]);
  byId("model-row").hidden = choices.models.length === 0;
  for (const control of form.querySelectorAll("[data-setting]")) {
    const value = settings[control.dataset.setting];
    if (control.type === "checkbox") control.checked = value;
    else control.value = value;
  }
  for (const [id, [valueOf]] of Object.entries(SLIDERS)) {
    byId(id).value = valueOf(settings);
    showSlider(id);
  }
  for (const button of document.querySelectorAll("[data-toggle]")) {
    button.setAttribute("aria-pressed", settings[button.dataset.toggle]);
  }
  byId("recording-badge").hidden = !settings.recording;
  showBackground(settings);
  showWho(settings);
  if (state.notice_count !== noticed) tell(notice, state.is_problem);
  noticed = state.notice_count;
}

function showBackground(settings) {
  const { bg } = settings;
  const choice = COLOUR.test(bg) ? "colour" : bg.startsWith(GRADIENT) ? "gradient" : bg;
  const tile = form.querySelector(`input[name=bg][value="${CSS.escape(choice)}"]`);
  for (const radio of form.querySelectorAll("input[name=bg]")) radio.checked = radio === tile;
  if (choice === "colour") byId("colour").value = bg;
  if (choice === "gradient") {
    const colours = bg.slice(GRADIENT.length).split(",");
    byId("gradient-top").value = colours[0];
    byId("gradient-bottom").value = colours.at(-1);
  }
  showSwatches();
  byId("colour-row").hidden = choice !== "colour";
  byId("gradient-row").hidden = choice !== "gradient";
  byId("blur-row").hidden = choice !== "blur";
  byId("fit-row").hidden = ["colour", "gradient", "none", "blur"].includes(choice);
  byId("look-hint").hidden = choice !== "none";
}

function showSwatches() {
  byId("swatch").style.backgroundColor = byId("colour").value;
  const [top, bottom] = gradientColours();
  byId("gradient-swatch").style.backgroundImage = `linear-gradient(${top}, ${bottom})`;
}

const gradientColours = () => [byId("gradient-top").value, byId("gradient-bottom").value];

function showSlider(id) {
  const text = SLIDERS[id][1](byId(id).valueAsNumber);
  byId(`${id}-value`).textContent = text;
  byId(id).setAttribute("aria-valuetext", text);
}

function showWho({ subject, keep }) {
  byId("subject").value = keep ? "place" : subject;
  for (const row of document.querySelectorAll(".place-row")) row.hidden = !keep;
  showMark();
}

function listOptions(select, values) {
  if ([...select.options].map((option) => option.value).join() === values.join()) return;
  select.replaceChildren(...values.map((value) => new Option(value, value)));
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

form.addEventListener("submit", (event) => event.preventDefault());

form.addEventListener("change", ({ target }) => {
  if (target.name === "bg") {
    const drawn = { colour: byId("colour").value, gradient: GRADIENT + gradientColours() };
    change({ bg: drawn[target.value] ?? target.value });
  } else if (target === byId("subject")) {
    change(target.value === "place" ? keptPlace() : { subject: target.value, keep: null });
  } else if (target.dataset.setting) {
    change({ [target.dataset.setting]: target.type === "checkbox" ? target.checked : target.value });
  } else if (target === byId("file") && target.files.length) {
    upload(target.files[0]);
    target.value = "";
  }
});

for (const [id, [, , changeOf]] of Object.entries(SLIDERS)) {
  byId(id).addEventListener("input", ({ target }) => {
    showSlider(id);
    changeSoon(changeOf(target.valueAsNumber));
  });
}

for (const [id, background] of [
  ["colour", () => byId("colour").value],
  ["gradient-top", () => GRADIENT + gradientColours()],
  ["gradient-bottom", () => GRADIENT + gradientColours()],
]) {
  byId(id).addEventListener("input", () => {
    showSwatches();
    changeSoon({ bg: background() });
  });
}

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
  showMark();
}

// Who stays, as a place in the picture, which lies between bars where the frame has other proportions.
function keptPlace() {
  showMark();
  return { keep: [byId("across").value / 100, byId("down").value / 100] };
}

function pictureBox() {
  const picture = [video, mjpeg].find((one) => !one.hidden);
  const [width, height] = picture ? [picture.videoWidth ?? picture.naturalWidth, picture.videoHeight ?? picture.naturalHeight] : [0, 0];
  if (!width || !height) return null;
  const frame = byId("frame").getBoundingClientRect();
  const scale = Math.min(frame.width / width, frame.height / height);
  const box = { width: width * scale, height: height * scale };
  return { ...box, left: (frame.width - box.width) / 2, top: (frame.height - box.height) / 2, frame };
}

function showMark() {
  const box = byId("who").open && byId("subject").value === "place" ? pictureBox() : null;
  byId("frame").classList.toggle("pointing", box !== null);
  byId("keep-mark").hidden = !box;
  if (!box) return;
  byId("keep-mark").style.left = `${box.left + (box.width * byId("across").value) / 100}px`;
  byId("keep-mark").style.top = `${box.top + (box.height * byId("down").value) / 100}px`;
}

byId("who").addEventListener("toggle", showMark);
new ResizeObserver(showMark).observe(byId("frame"));
video.addEventListener("resize", showMark);
mjpeg.addEventListener("load", showMark);

byId("frame").addEventListener("click", ({ clientX, clientY }) => {
  const box = byId("keep-mark").hidden ? null : pictureBox();
  if (!box) return;
  byId("across").value = (100 * (clientX - box.frame.left - box.left)) / box.width;
  byId("down").value = (100 * (clientY - box.frame.top - box.top)) / box.height;
  for (const id of ["across", "down"]) showSlider(id);
  change(keptPlace());
});

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
  events.addEventListener("settings", ({ data }) => showUnlessChanging(JSON.parse(data)));
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
