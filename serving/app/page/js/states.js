// What stands where the list would be: loading, nothing found, or an error, each unlike the others.

import { el, button } from "./dom.js";

/** Grey shapes of cards. The text is for screen readers. */
export function loading() {
  const bone = (name) => el("span", { class: `bone ${name}` });
  const one = () => el("div", { class: "card is-skeleton", "aria-hidden": "true" },
    el("div", { class: "card-head" }, bone("bone-picture"), el("div", { class: "card-title" }, bone("bone-title"), bone("bone-tag"))),
    bone("bone-line"), bone("bone-line"), bone("bone-line is-short"));
  return el("div", { class: "skeletons", "data-state": "loading" }, el("p", { class: "hidden" }, "Loading"), Array.from({ length: 6 }, one));
}

/** @param {[string, () => void][]} ways out of it */
export function empty(text, ways) {
  return el("div", { class: "state", "data-state": "empty" },
    el("h2", {}, "Nothing fits all of this"),
    el("p", {}, text),
    el("div", { class: "state-ways" }, ways.map(([label, go]) => button(label, go))),
  );
}

const TITLES = {
  0: "The app cannot be reached",
  401: "A token is needed",
  404: "That is not there any more",
  422: "The app cannot answer this",
  429: "Too many requests",
  503: "Recommendations are away for a moment",
};

export const waiting = (seconds) => `Trying again in ${seconds} s. What you have said so far is kept.`;

/** Whether the same request may succeed later. */
export const passing = (error) => [0, 429, 502, 503, 504].includes(error.status);

/**
 * @param {import("./api.js").ApiError} error
 * @param {{retry?: () => void, reset?: () => void, token: (value: string) => void, wait?: number}} ways of a 401 the token alone
 *   wait: seconds until the page tries again by itself; 0: it does not
 */
export function failed(error, { retry, reset, token, wait = 0 }) {
  const parts = [
    el("h2", {}, TITLES[error.status] ?? "Something went wrong"),
    el("p", { class: "state-detail" }, error.message),
  ];
  if (wait) parts.push(el("p", { class: "state-wait" }, waiting(wait)));
  if (error.status === 401) parts.push(tokenForm(token));
  else {
    const ways = [button("Try again", retry, { class: "button is-main", "data-retry": "" })];
    if (!passing(error)) ways.push(button("Clear filters and words", reset));
    parts.push(el("div", { class: "state-ways" }, ways));
  }
  return el("div", { class: "state is-error", "data-state": "error", role: "alert" }, parts);
}

export function tokenForm(onToken) {
  const field = el("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const form = el("form", { class: "token" }, el("label", { htmlFor: "token" }, "Token"), field, el("button", { type: "submit", class: "button is-main" }, "Use it"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onToken(field.value);
  });
  return form;
}
