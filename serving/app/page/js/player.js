// A sound: one button, a position that can be moved, the time. Only one plays at a time.

import { el, icon, ICONS, button } from "./dom.js";

let playing = null; // the audio element that plays now

function clock(seconds) {
  if (!Number.isFinite(seconds)) return "–:––";
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

/**
 * @param {string} src
 * @param {string} title of the item, for the names of the controls
 * @param {() => void} onFirst when it is played for the first time
 */
export function player(src, title, onFirst) {
  const audio = el("audio", { src, preload: "none" });
  const time = el("span", { class: "player-time" }, "");
  const place = el("input", {
    type: "range", min: "0", max: "100", step: "1", value: "0", disabled: true, class: "player-place", "aria-label": `Position in the sound of ${title}`,
  });
  const toggle = button(icon(ICONS.play), () => (audio.paused ? start() : audio.pause()), { class: "player-play" });
  const node = el("div", { class: "player" }, toggle, place, time, audio);
  let heard = false;

  async function start() {
    if (playing && playing !== audio) playing.pause();
    try {
      await audio.play();
    } catch (error) {
      if (error.name !== "AbortError") fail(); // AbortError: paused again before it began
    }
  }

  function fail() {
    toggle.disabled = true;
    time.textContent = "cannot be played";
    node.classList.add("is-broken");
  }

  function draw() {
    const on = !audio.paused && !audio.ended;
    toggle.setAttribute("aria-label", `${on ? "Pause" : "Play"} the sound of ${title}`);
    toggle.replaceChildren(icon(on ? ICONS.pause : ICONS.play));
    node.classList.toggle("is-playing", on);
    if (!Number.isFinite(audio.duration)) return;
    place.disabled = false;
    place.value = String((100 * audio.currentTime) / audio.duration);
    place.style.setProperty("--done", `${place.value}%`);
    place.setAttribute("aria-valuetext", `${clock(audio.currentTime)} of ${clock(audio.duration)}`);
    time.textContent = `${clock(audio.currentTime)} / ${clock(audio.duration)}`;
  }

  audio.addEventListener("play", () => {
    playing = audio;
    if (!heard) onFirst();
    heard = true;
  });
  audio.addEventListener("error", fail);
  for (const event of ["play", "pause", "ended", "timeupdate", "loadedmetadata"]) audio.addEventListener(event, draw);
  place.addEventListener("input", () => {
    audio.currentTime = (audio.duration * Number(place.value)) / 100;
  });
  draw();
  return node;
}

/** For a list that goes away. */
export function silence() {
  playing?.pause();
  playing = null;
}
