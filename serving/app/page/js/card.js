// A list item as a card. `update` redraws its reasons and weights from a newer answer; picture and sound stay.

import { el, button, icon, ICONS } from "./dom.js";
import { player } from "./player.js";

const MAX_TEXT = 320; // characters of a text that is shown in full
const MAX_STEPS = 10; // rating values that get a button each
let numCards = 0;

/** The image of an item, or the initial of its title if it has none or it cannot be loaded. */
export function picture(item, className) {
  const feature = Object.keys(item.media).find((name) => item.kinds[name] === "image");
  const initial = () => el("span", { class: `${className} is-blank`, "aria-hidden": "true" }, (item.title.match(/\p{L}|\p{N}/u) ?? ["·"])[0]);
  if (!feature) return initial();
  const image = el("img", { class: className, alt: `Picture of ${item.title}`, loading: "lazy", width: 112, height: 112 });
  image.addEventListener("error", () => image.replaceWith(initial()), { once: true });
  image.src = item.media[feature];
  return image;
}

function percent(fraction) {
  return `${Math.round(100 * fraction)}%`;
}

function text(item, onRead) {
  if (item.text.length <= MAX_TEXT) return el("p", { class: "card-text" }, item.text);
  const cut = `${item.text.slice(0, item.text.lastIndexOf(" ", MAX_TEXT) || MAX_TEXT)} …`;
  const shown = document.createTextNode(cut);
  const more = button("Read all", () => {
    const closed = shown.data === cut;
    shown.data = closed ? item.text : cut;
    more.textContent = closed ? "Read less" : "Read all";
    more.setAttribute("aria-expanded", String(closed));
    if (closed) onRead();
  }, { class: "link", "aria-expanded": "false" });
  return el("p", { class: "card-text" }, shown, " ", more);
}

/** The predicted labels, such as "like 80%, rating 4.2". */
function predictions(item, about) {
  const texts = about.labels.map(({ name, task }) => {
    const value = item.labels[name];
    if (value === null || value === undefined) return null;
    return `${name} ${task === "binary" ? percent(value) : value.toFixed(1)}`;
  }).filter(Boolean);
  return texts.length ? el("p", { class: "expected" }, `Expected of you: ${texts.join(", ")}`) : null;
}

function modalityWeights(item, about) {
  const weights = about.modalities.map((name, index) => [name, item.modality_weights[name] ?? 0, index]).filter(([, weight]) => weight > 0);
  if (!weights.length) return null;
  const rows = weights.map(([name, weight, index]) => {
    const fill = el("span", { class: `bar-fill m${index % 6}` });
    fill.style.width = `${100 * weight}%`; // the page's policy forbids style attributes but allows this
    return el("li", {}, el("span", { class: "bar-name" }, name), el("span", { class: "bar" }, fill), el("span", { class: "bar-value" }, percent(weight)));
  });
  return el("ul", { class: "weights", "aria-label": "How much each modality counts" }, rows);
}

function reasons(item) {
  if (!item.reasons.length) return null;
  return el("ul", { class: "reasons", "aria-label": "Reasons" }, item.reasons.map((reason) => el("li", { class: `reason is-${reason.kind}` }, reason.text)));
}

function meta(item) {
  const numbers = Object.entries(item.numbers).map(([name, value]) => el("span", { class: "tag is-number" }, `${name} ${value}`));
  return el("p", { class: "meta" },
    item.categories.map((name) => el("span", { class: "tag" }, name)),
    numbers,
    item.seen ? el("span", { class: "tag is-seen" }, "seen") : null,
    item.rules.map((name) => el("span", { class: "tag is-rule" }, `rule: ${name}`)),
  );
}

function rating(about, item, act) {
  const [low, high] = about.rating ?? [0, 0];
  if (!about.rating || !Number.isInteger(low) || !Number.isInteger(high) || high - low >= MAX_STEPS) return null;
  const steps = Array.from({ length: high - low + 1 }, (_, index) => low + index);
  return el("div", { class: "rate", role: "group", "aria-label": `Rate ${item.title}` },
    el("span", { class: "rate-name", "aria-hidden": "true" }, "Rate"),
    steps.map((value) => button(String(value), () => act("rating", item, value), { class: "rate-step", "aria-label": `Rate ${item.title} ${value} of ${high}` })),
  );
}

function action(kind, label, item, act, path, hint) {
  const props = { class: `act is-${kind}`, "aria-label": `${label}: ${item.title}`, title: hint, dataset: { act: kind } };
  return button([icon(path), el("span", {}, label)], () => act(kind, item), props);
}

/**
 * @param {object} item `ListItem` of the app
 * @param {object} about `AboutOut`
 * @param {(kind: string, item: object, value?: number) => void} act like, dislike, not, less, similar, rating, click
 */
export function card(item, about, act) {
  const id = `card-${++numCards}`;
  const sounds = Object.keys(item.media).filter((name) => item.kinds[name] === "audio");
  const top = el("div", { class: "card-meta" });
  const foot = el("div", { class: "card-why" });
  const node = el("li", { class: "card", dataset: { id: item.id } },
    el("article", { "aria-labelledby": id },
      el("div", { class: "card-head" },
        picture(item, "card-picture"),
        el("div", { class: "card-title" }, el("h2", { id }, item.title), top),
      ),
      item.text ? text(item, () => act("click", item)) : null,
      sounds.map((name) => player(item.media[name], item.title, () => act("click", item))),
      foot,
      el("div", { class: "acts", role: "group", "aria-label": `Your say on ${item.title}` },
        action("like", "Like", item, act, ICONS.like, "More like this in the next list"),
        action("dislike", "Dislike", item, act, ICONS.dislike, "Counts against it in your taste"),
        action("not", "Not this", item, act, ICONS.not, "Left out for now; says nothing about your taste"),
        action("less", "Less of this kind", item, act, ICONS.less, "A dislike that counts for everything near it"),
        action("similar", "Similar", item, act, ICONS.similar, "Show what is like it"),
      ),
      rating(about, item, act),
    ),
  );
  const update = (newer) => {
    top.replaceChildren(...[meta(newer), predictions(newer, about)].filter(Boolean));
    foot.replaceChildren(...[reasons(newer), modalityWeights(newer, about)].filter(Boolean));
  };
  update(item);
  return { node, update };
}
