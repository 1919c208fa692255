// The taste picker: a newcomer taps what they like, and all of it goes to the app at once.

import { el, byId, button, toast } from "./dom.js";
import { api, randomId } from "./api.js";
import { picture } from "./card.js";

const ASKED = 12;

export class Picker {
  /** @param {(count: number) => Promise<void>} done once the app has the choices; @param {(error: Error) => void} failed */
  constructor(done) {
    this.node = byId("picker");
    this.done = done;
  }

  close() {
    this.node.hidden = true;
    this.node.replaceChildren();
  }

  /** Asks the app what to ask `user` about, and shows it. Raises ApiError. */
  async open(user, stillWanted) {
    const answer = await api.picker(user, ASKED);
    if (!stillWanted() || !answer.items.length) return;
    const chosen = new Map();
    const go = button("Show my list", () => this.#send(user, chosen, go, stillWanted), { class: "button is-main", disabled: true });
    const said = el("span", { class: "picker-count", role: "status" }, "Nothing chosen yet");
    const choices = answer.items.map((item) => {
      const one = button([
        picture(item, "pick-picture"),
        el("span", { class: "pick-title" }, item.title),
        el("span", { class: "pick-kind" }, item.categories.join(", ")),
      ], () => {
        const on = !chosen.has(item.id);
        if (on) chosen.set(item.id, { kind: "like", item: item.id, id: randomId() });
        else chosen.delete(item.id);
        one.setAttribute("aria-pressed", String(on));
        go.disabled = !chosen.size;
        said.textContent = chosen.size ? `${chosen.size} chosen` : "Nothing chosen yet";
      }, { class: "pick", "aria-pressed": "false", title: item.text });
      one.querySelector("img")?.setAttribute("alt", ""); // the title is the name of the button
      return el("li", {}, one);
    });
    this.node.replaceChildren(
      el("div", { class: "picker-head" },
        el("h2", { id: "picker-heading" }, "What do you like?"),
        el("p", { class: "hint" }, answer.why),
      ),
      el("ul", { class: "picks" }, choices),
      el("div", { class: "picker-foot" }, go, button("Skip", () => {
        this.close();
        byId("list-heading").focus();
      }), said),
    );
    this.node.hidden = false;
  }

  async #send(user, chosen, go, stillWanted) {
    go.disabled = true;
    try {
      await api.events(user, [...chosen.values()]);
    } catch (error) {
      go.disabled = false;
      toast(`Not saved: ${error.message}`, { bad: true });
      return;
    }
    if (!stillWanted()) return;
    this.close();
    byId("list-heading").focus();
    await this.done(chosen.size);
  }
}
