// Helpers that create elements. Text is always added as text nodes, so that no server text is parsed as HTML.

/**
 * Creates an element. `props`: "class", "on" ({event: handler}), "dataset", else properties where the element has them
 * (hidden, disabled, value, ...) and attributes otherwise (aria-label, role, ...). Null and undefined are left out.
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name === "class") node.className = value;
    else if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** A button that does not submit a form. */
export function button(text, onClick, props = {}) {
  return el("button", { type: "button", class: "button", ...props, on: { click: onClick } }, text);
}

/** A text with a remove button. */
export function chip(text, kind, removeLabel, onRemove) {
  const remove = button("×", onRemove, { class: "chip-x", "aria-label": removeLabel, title: removeLabel });
  return el("span", { class: `chip ${kind}` }, el("span", { class: "chip-text" }, text), remove);
}

const SVG = "http://www.w3.org/2000/svg";

/** An outline icon in the text colour, hidden from screen readers: the text beside it says the same. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true", focusable: "false" }))
    svg.setAttribute(name, value);
  const outline = document.createElementNS(SVG, "path");
  outline.setAttribute("d", path);
  svg.append(outline);
  return svg;
}

export const ICONS = {
  like: "M10 16.5S3 12.4 3 7.7A3.7 3.7 0 0 1 10 6a3.7 3.7 0 0 1 7 1.7c0 4.7-7 8.8-7 8.8z",
  dislike: "M7 11.5V4h7l2 5.7v1.8h-4.5l.7 4-1.5.8zM7 4H4v7.5h3z",
  not: "M5 5l10 10M15 5 5 15",
  less: "M10 4v9m-4-4 4 4 4-4M5 16.5h10",
  similar: "M3.5 6.5h9v9h-9zM7.5 6.5v-3h9v9h-4",
  play: "M6.5 4.5v11l9-5.5z",
  pause: "M6.5 4.5v11M13.5 4.5v11",
};

let toastTimer = 0;

/** Shows a short message, which screen readers announce. `action`: [text, handler] of a button. */
export function toast(text, { bad = false, action = null } = {}) {
  const node = byId("toast");
  clearTimeout(toastTimer);
  node.className = bad ? "toast is-shown is-bad" : "toast is-shown";
  const children = [el("span", {}, text)];
  if (action) children.push(button(action[0], action[1], { class: "button is-small" }));
  node.replaceChildren(...children);
  toastTimer = setTimeout(() => node.classList.remove("is-shown"), action ? 12000 : 6000);
}
