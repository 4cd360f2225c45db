// The feed alone, full-bleed, for OBS's browser source.
"use strict";

const RETRY_MS = 2000;
const image = document.getElementById("mjpeg");
const alpha = new URLSearchParams(location.search).get("alpha");

document.body.dataset.alpha = alpha ?? "";

function load() {
  image.src = `/feed.mjpeg?${new URLSearchParams(alpha === null ? {} : { alpha })}`;
}

image.addEventListener("error", () => setTimeout(load, RETRY_MS));
load();
