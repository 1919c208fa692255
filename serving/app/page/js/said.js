// What was asked in words, said back as chips that can be taken back, and what an answer stands on.

import { el, byId, button, chip } from "./dom.js";

const BASED = {
  history: "your newest items",
  taste: "your taste over time",
  words: "your words",
  rating_words: "your ratings in words",
  popularity: "what most people take",
};
const ACTIONS = { pin: "pins", boost: "boosts", bury: "buries", block: "blocks" };

export function sentence(parts) {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

export function drawExamples(examples, shown, onSay) {
  const box = byId("examples");
  box.hidden = !shown || !examples.length;
  box.replaceChildren(el("span", {}, "Try"), ...examples.map((one) => button(one, () => onSay(one), { class: "example" })));
}

/**
 * @param {import("./ask.js").Ask} ask
 * @param {object | null} understood of the last answer
 * @param {{unsay: (turn: number) => void, drop: (chip: object) => void, undrop: (key: string) => void, bringBack: (id: string) => void, unsimilar: () => void, clear: () => void}} on
 */
export function drawSaid(ask, understood, on) {
  const box = byId("said");
  const parts = [];
  const chips = understood?.chips ?? [];
  ask.turns.forEach((words, turn) => {
    const found = chips.filter((one) => one.turn === turn);
    const same = found.length === 1 && found[0].label.toLowerCase() === words.toLowerCase(); // said once is enough
    if (!same) parts.push(chip(`“${words}”`, "is-words", `Take back: ${words}`, () => on.unsay(turn)));
    for (const one of found)
      parts.push(chip(one.label, `is-understood is-${one.kind}`, `Take back: ${one.label}`, () => (same ? on.unsay(turn) : on.drop(one))));
    for (const { key, label } of ask.dropped.filter((one) => one.turn === turn))
      parts.push(chip(`${label}: as words only`, "is-dropped", `Make it a condition again: ${label}`, () => on.undrop(key)));
  });
  if (ask.similar) parts.push(chip(`like ${ask.similar.title}`, "is-similar", "Back to your list", on.unsimilar));
  for (const [id, title] of ask.without) parts.push(chip(`without ${title}`, "is-without", `Bring back ${title}`, () => on.bringBack(id)));
  if (parts.length > 1) parts.push(button("Clear all", on.clear, { class: "link" }));
  box.hidden = !parts.length;
  box.replaceChildren(...parts);
}

/** The line below the heading. */
export function basis(ask, answer) {
  if (ask.similar) return `From the likeness of its embedding to that of ${ask.similar.title}.`;
  return `From ${sentence(answer.based_on.map((one) => BASED[one] ?? one))}.`;
}

/** Notes above the list: the words that ratings became, the rules of the house that touched it. */
export function notes(answer) {
  const said = [];
  if (answer.rating_words) said.push(`Your ratings in words: ${answer.rating_words}`);
  for (const one of answer.applied_rules ?? [])
    said.push(`House rule “${one.name}” ${ACTIONS[one.action] ?? one.action} ${one.items} ${one.items === 1 ? "item" : "items"}`);
  return said.map((text) => el("p", { class: "note" }, text));
}
