// The taste picker: a new user taps the items they like, and all of them are sent at once.

import { el, byId, button, toast } from "./dom.js";
import { api, randomId } from "./api.js";
import { picture } from "./card.js";

const NUM_ITEMS = 12;

export class TastePicker {
  /** @param {(count: number) => Promise<void>} onDone called once the choices are stored */
  constructor(onDone) {
    this.node = byId("picker");
    this.onDone = onDone;
    this.isAside = false;
  }

  /** Hides the items, with what is chosen of them, while answers to a question are on the page. */
  stepAside(isAside) {
    this.isAside = isAside;
    this.node.hidden = isAside || !this.node.childElementCount;
  }

  close() {
    this.node.hidden = true;
    this.node.replaceChildren();
  }

  /**
   * Fetches the items for a user and shows them. Throws ApiError.
   * @param {() => boolean} isCurrent false once another user was chosen
   */
  async open(user, isCurrent) {
    const answer = await api.picker(user, NUM_ITEMS);
    if (!isCurrent() || !answer.items.length) return;
    const likes = new Map();
    const submit = button("Show my list", () => this.#send(user, likes, submit, isCurrent), { class: "button is-main", disabled: true });
    const count = el("span", { class: "picker-count", role: "status" }, "Nothing chosen yet");
    const choices = answer.items.map((item) => {
      const choice = button([
        picture(item, "pick-picture"),
        el("span", { class: "pick-title" }, item.title),
        el("span", { class: "pick-kind" }, item.categories.join(", ")),
      ], () => {
        const chosen = !likes.has(item.id);
        if (chosen) likes.set(item.id, { kind: "like", item: item.id, id: randomId() });
        else likes.delete(item.id);
        choice.setAttribute("aria-pressed", String(chosen));
        submit.disabled = !likes.size;
        count.textContent = likes.size ? `${likes.size} chosen` : "Nothing chosen yet";
      }, { class: "pick", "aria-pressed": "false", title: item.text });
      choice.querySelector("img")?.setAttribute("alt", ""); // the title already names the button
      return el("li", {}, choice);
    });
    this.node.replaceChildren(
      el("div", { class: "picker-head" },
        el("h2", { id: "picker-heading" }, "What do you like?"),
        el("p", { class: "hint" }, answer.why),
      ),
      el("ul", { class: "picks" }, choices),
      el("div", { class: "picker-foot" }, submit, button("Skip", () => {
        this.close();
        byId("list-heading").focus();
      }), count),
    );
    this.node.hidden = this.isAside;
  }

  async #send(user, likes, submit, isCurrent) {
    submit.disabled = true;
    try {
      await api.events(user, [...likes.values()]);
    } catch (error) {
      submit.disabled = false;
      toast(`Not saved: ${error.message}`, { bad: true });
      return;
    }
    if (!isCurrent()) return;
    this.close();
    byId("list-heading").focus();
    await this.onDone(likes.size);
  }
}
