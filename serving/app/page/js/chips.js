// The query as removable chips, example queries, and the lines that say what a list is based on.

import { el, byId, button, chip } from "./dom.js";

const SOURCES = {
  history: "your newest items",
  taste: "your taste over time",
  words: "your words",
  rating_words: "your ratings in words",
  popularity: "what is popular",
};
const RULE_VERBS = { pin: "pins", boost: "boosts", bury: "buries", block: "blocks" };

function enumerate(parts) {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

const notUnderstood = (understood, turn) => (understood?.not_understood ?? []).filter((one) => one.turn === turn);

/** The words of what was not understood: “no vampires” and “no clowns”. */
export const quoted = (unknown) => enumerate(unknown.map(({ words }) => `“${words}”`));

export function drawExamples(examples, shown, onSearch) {
  const box = byId("examples");
  box.hidden = !shown || !examples.length;
  const buttons = examples.map((example) => button(example, () => onSearch(example), { class: "example" }));
  box.replaceChildren(el("span", {}, "Try"), ...buttons);
}

/**
 * @param {import("./list_request.js").ListRequest} request
 * @param {object | null} understood `Understood` of the last answer
 * @param {{removeTurn: (turn: number) => void, dropCondition: (chip: object) => void, restoreCondition: (key: string) => void,
 *   include: (id: string) => void, leaveSimilar: () => void, clear: () => void}} on handlers of the chips' buttons
 */
export function drawChips(request, understood, on) {
  const box = byId("chips");
  const nodes = [];
  const chips = understood?.chips ?? [];
  request.turns.forEach((words, turn) => {
    const conditions = chips.filter((condition) => condition.turn === turn);
    const found = [...conditions.map(({ label }) => label), ...notUnderstood(understood, turn).map((one) => one.words)];
    const isWholeTurn = found.length === 1 && found[0].toLowerCase() === words.toLowerCase(); // one chip is enough
    if (!isWholeTurn) nodes.push(chip(`“${words}”`, "is-words", `Take back: ${words}`, () => on.removeTurn(turn)));
    for (const condition of conditions) {
      const remove = () => (isWholeTurn ? on.removeTurn(turn) : on.dropCondition(condition));
      nodes.push(chip(condition.label, `is-understood is-${condition.kind}`, `Take back: ${condition.label}`, remove));
    }
    for (const unknown of notUnderstood(understood, turn)) {
      const remove = () => (isWholeTurn ? on.removeTurn(turn) : on.dropCondition({ ...unknown, label: unknown.words }));
      nodes.push(chip(`${unknown.words}: not understood`, "is-unknown", `Take back: ${unknown.words}`, remove));
    }
    for (const { key, label } of request.dropped.filter((condition) => condition.turn === turn))
      nodes.push(chip(`${label}: as words only`, "is-dropped", `Make it a condition again: ${label}`, () => on.restoreCondition(key)));
  });
  if (request.similar) nodes.push(chip(`like ${request.similar.title}`, "is-similar", "Back to your list", on.leaveSimilar));
  for (const [id, title] of request.without) nodes.push(chip(`without ${title}`, "is-without", `Bring back ${title}`, () => on.include(id)));
  if (nodes.length > 1) nodes.push(button("Clear all", on.clear, { class: "link" }));
  box.hidden = !nodes.length;
  box.replaceChildren(...nodes);
}

/** The line below the heading. */
export function basisText(request, answer) {
  if (request.similar) return `From the similarity of its embedding to that of ${request.similar.title}.`;
  return `From ${enumerate(answer.based_on.map((source) => SOURCES[source] ?? source))}.`;
}

/** What of the question has no effect, one sentence each. */
function withoutEffect(answer) {
  const { query = "", not_understood: unknown = [] } = answer.understood ?? {};
  const notes = [];
  if (unknown.length) notes.push(`Not understood: ${quoted(unknown)}. Nothing here is called that, so nothing is left out for it, and it is not searched for either.`);
  if (query && answer.based_on && !answer.based_on.includes("words")) notes.push(`This model takes no words: “${query}” changes nothing.`);
  return notes;
}

/** Notes above the list: words without effect, the ratings in words, and the business rules that affected it. */
export function noteLines(answer) {
  const notes = withoutEffect(answer);
  if (answer.rating_words) notes.push(`Your ratings in words: ${answer.rating_words}`);
  for (const rule of answer.applied_rules ?? [])
    notes.push(`Rule “${rule.name}” ${RULE_VERBS[rule.action] ?? rule.action} ${rule.items} ${rule.items === 1 ? "item" : "items"}`);
  return notes.map((note) => el("p", { class: "note" }, note));
}
