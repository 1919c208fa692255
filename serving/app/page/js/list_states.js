// What is shown in place of the list: loading, a model that is loading, no results, or an error.

import { el, button } from "./dom.js";

/** Grey outlines of cards; screen readers get the text "Loading". */
export function loadingState() {
  const bone = (name) => el("span", { class: `bone ${name}` });
  const skeleton = () => el("div", { class: "card is-skeleton", "aria-hidden": "true" },
    el("div", { class: "card-head" }, bone("bone-picture"), el("div", { class: "card-title" }, bone("bone-title"), bone("bone-tag"))),
    bone("bone-line"), bone("bone-line"), bone("bone-line is-short"));
  return el("div", { class: "skeletons", "data-state": "loading" }, el("p", { class: "hidden" }, "Loading"), Array.from({ length: 6 }, skeleton));
}

/** The model server is still starting; the page asks again by itself. A status and no alert: nothing is wrong. */
export function startingState() {
  return el("div", { class: "state", "data-state": "starting", role: "status" },
    el("h2", {}, "The model is loading"),
    el("p", {}, "Your list comes by itself as soon as it is there."),
    el("div", { class: "working", "aria-hidden": "true" }),
  );
}

/** @param {[string, () => void][]} actions labels and handlers of the buttons */
export function emptyState(text, actions) {
  return el("div", { class: "state", "data-state": "empty" },
    el("h2", {}, "Nothing fits all of this"),
    el("p", {}, text),
    el("div", { class: "state-ways" }, actions.map(([label, run]) => button(label, run))),
  );
}

const TITLES = {
  0: "The app cannot be reached",
  401: "A token is needed",
  404: "This item no longer exists",
  422: "The app cannot answer this",
  429: "Too many requests",
  503: "Recommendations are unavailable for a moment",
};

export const waitingText = (seconds) => `Trying again in ${seconds} s. Your query is kept.`;

/** Whether the same request may succeed later. */
export const isTransient = (error) => [0, 429, 502, 503, 504].includes(error.status);

/**
 * An error, with a token form for status 401 and else with buttons.
 * @param {import("./api.js").ApiError} error
 * @param {{retry?: () => void, reset?: () => void, token: (value: string) => void, wait?: number}} actions
 *   wait: seconds until the page tries again by itself; 0: it does not
 */
export function errorState(error, { retry, reset, token, wait = 0 }) {
  const parts = [
    el("h2", {}, TITLES[error.status] ?? "Something went wrong"),
    el("p", { class: "state-detail" }, error.message),
  ];
  if (wait) parts.push(el("p", { class: "state-wait" }, waitingText(wait)));
  if (error.status === 401) parts.push(tokenForm(token));
  else {
    const buttons = [button("Try again", retry, { class: "button is-main", "data-retry": "" })];
    if (!isTransient(error)) buttons.push(button("Clear filters and words", reset));
    parts.push(el("div", { class: "state-ways" }, buttons));
  }
  return el("div", { class: "state is-error", "data-state": "error", role: "alert" }, parts);
}

/** @param {(value: string) => void} onToken gets the token that was typed */
export function tokenForm(onToken) {
  const field = el("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const form = el("form", { class: "token" }, el("label", { htmlFor: "token" }, "Token"), field, el("button", { type: "submit", class: "button is-main" }, "Use it"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onToken(field.value);
  });
  return form;
}
