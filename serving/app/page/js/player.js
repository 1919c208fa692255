// An audio player: play button, position and time. Only one plays at a time.

import { el, icon, ICONS, button } from "./dom.js";

let playing = null; // the audio element that is playing

function clock(seconds) {
  if (!Number.isFinite(seconds)) return "–:––";
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

/**
 * @param {string} src
 * @param {string} title of the item, for the labels of the controls
 * @param {() => void} onFirstPlay called when it is played for the first time
 */
export function player(src, title, onFirstPlay) {
  const audio = el("audio", { src, preload: "none" });
  const time = el("span", { class: "player-time" }, "");
  const position = el("input", {
    type: "range", min: "0", max: "100", step: "1", value: "0", disabled: true, class: "player-place", "aria-label": `Position in the sound of ${title}`,
  });
  const toggle = button(icon(ICONS.play), () => (audio.paused ? start() : audio.pause()), { class: "player-play" });
  const node = el("div", { class: "player" }, toggle, position, time, audio);
  let played = false;

  async function start() {
    if (playing && playing !== audio) playing.pause();
    try {
      await audio.play();
    } catch (error) {
      if (error.name !== "AbortError") fail(); // AbortError: paused before it began
    }
  }

  function fail() {
    toggle.disabled = true;
    time.textContent = "cannot be played";
    node.classList.add("is-broken");
  }

  function draw() {
    const isPlaying = !audio.paused && !audio.ended;
    toggle.setAttribute("aria-label", `${isPlaying ? "Pause" : "Play"} the sound of ${title}`);
    toggle.replaceChildren(icon(isPlaying ? ICONS.pause : ICONS.play));
    node.classList.toggle("is-playing", isPlaying);
    if (!Number.isFinite(audio.duration)) return;
    position.disabled = false;
    position.value = String((100 * audio.currentTime) / audio.duration);
    position.style.setProperty("--done", `${position.value}%`);
    position.setAttribute("aria-valuetext", `${clock(audio.currentTime)} of ${clock(audio.duration)}`);
    time.textContent = `${clock(audio.currentTime)} / ${clock(audio.duration)}`;
  }

  audio.addEventListener("play", () => {
    playing = audio;
    if (!played) onFirstPlay();
    played = true;
  });
  audio.addEventListener("error", fail);
  for (const event of ["play", "pause", "ended", "timeupdate", "loadedmetadata"]) audio.addEventListener(event, draw);
  position.addEventListener("input", () => {
    audio.currentTime = (audio.duration * Number(position.value)) / 100;
  });
  draw();
  return node;
}

/** Stops the sound, such as when the list is replaced. */
export function stopPlayer() {
  playing?.pause();
  playing = null;
}
