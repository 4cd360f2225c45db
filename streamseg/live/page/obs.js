// The feed alone, full-bleed, for OBS's browser source.
"use strict";

const RETRY_MS = 2000;
const image = document.getElementById("mjpeg");
const alpha = new URLSearchParams(location.search).get("alpha");

document.body.dataset.alpha = alpha ?? "";

// The address is a new one each time: a browser asks for the picture of an address once.
function load() {
  image.src = `/feed.mjpeg?${new URLSearchParams({ ...(alpha !== null && { alpha }), at: Date.now() })}`;
}

image.addEventListener("error", () => setTimeout(load, RETRY_MS));

// A picture that ends in order fires no event: the stream of events tells when streamseg is there again.
function listen() {
  const events = new EventSource("/api/events");
  events.addEventListener("open", load);
  events.addEventListener("error", () => events.readyState === EventSource.CLOSED && setTimeout(listen, RETRY_MS));
}

listen();
