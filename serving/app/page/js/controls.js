// Diversity, filters and switches. Drawn once from /about; `sync` shows what the question is now.

import { el, byId, button } from "./dom.js";

const FEW = 12; // categories that are shown without asking
const PAUSE = 200; // ms after which a moved slider asks for a list

const MEDIA = { image: "has a picture", audio: "has a sound" };

function toggle(label, kind, onChange, more = {}) {
  const field = el("input", { type: "checkbox", on: { change: () => onChange(field.checked) }, ...more });
  return { field, node: el("label", { class: kind }, field, el("span", {}, label)) };
}

function group(legend, ...children) {
  return el("fieldset", {}, el("legend", {}, legend), ...children);
}

export class Controls {
  /**
   * @param {object} about `AboutOut`
   * @param {import("./ask.js").Ask} ask is changed in place
   * @param {() => void} changed
   */
  constructor(about, ask, changed) {
    this.ask = ask;
    this.changed = changed;
    this.form = byId("filters");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.replaceChildren(this.#order(), ...this.#categories(about), ...this.#media(about), this.#words(about), this.#reset());
    if (window.matchMedia("(max-width: 59.99rem)").matches) byId("controls").open = false;
    this.sync();
  }

  #order() {
    let timer = 0;
    this.diversity = el("input", { type: "range", id: "diversity", min: "0", max: "1", step: "0.1", "aria-describedby": "diversity-hint" });
    this.diversityOut = el("output", { htmlFor: "diversity" });
    this.diversity.addEventListener("input", () => {
      this.ask.diversity = Number(this.diversity.value);
      this.#drawDiversity();
      clearTimeout(timer);
      timer = setTimeout(this.changed, PAUSE);
    });
    this.hideSeen = this.#switch("Hide what I have seen", "hideSeen");
    return group("Order",
      el("div", { class: "slider" },
        el("label", { htmlFor: "diversity" }, "Diversity"), this.diversityOut, this.diversity,
        el("p", { class: "hint", id: "diversity-hint" }, "0: the best one by one. 1: as different from each other as can be."),
      ),
      this.hideSeen.node,
    );
  }

  #switch(label, name, hint) {
    const one = toggle(label, "switch", (on) => {
      this.ask[name] = on;
      this.changed();
    });
    one.field.id = `switch-${name}`;
    if (hint) one.node.append(el("small", { class: "hint" }, hint));
    return one;
  }

  #set(name, value, label, title) {
    const one = toggle(label, "pill", (on) => {
      if (on) this.ask[name].add(value);
      else this.ask[name].delete(value);
      this.changed();
    });
    one.field.name = name;
    one.field.value = value;
    if (title) one.node.title = title;
    return one;
  }

  #categories(about) {
    this.categories = about.categories.map(({ name, items }) => this.#set("categories", name, name, `${items} items`));
    if (!this.categories.length) return [];
    const box = el("div", { class: "pills" }, this.categories.map((one) => one.node));
    const many = this.categories.length > FEW;
    const all = button(`Show all ${this.categories.length}`, () => {
      box.classList.add("is-open");
      all.remove();
      this.categories[FEW].field.focus();
    }, { class: "link" });
    if (!many) box.classList.add("is-open");
    this.categories.slice(FEW).forEach((one) => one.node.classList.add("is-further"));
    return [group("Any of these categories", box, many ? all : null)];
  }

  #media(about) {
    this.media = Object.entries(about.media).map(([name, kind]) => {
      const alone = Object.values(about.media).filter((one) => one === kind).length === 1;
      return this.#set("media", name, alone ? MEDIA[kind] ?? `has ${name}` : `has ${name}`);
    });
    return this.media.length ? [group("Only what", el("div", { class: "pills is-open" }, this.media.map((one) => one.node)))] : [];
  }

  #words(about) {
    this.ratingWords = about.rating ? this.#switch("Put my ratings into words", "ratingWords", "What you liked, said to the text model as well") : null;
    this.wordsAlone = this.#switch("Answer from words alone", "wordsAlone", "A search that does not look at your profile");
    return group("Words", this.ratingWords?.node, this.wordsAlone.node);
  }

  #reset() {
    this.clear = button("Clear filters", () => {
      this.ask.categories.clear();
      this.ask.media.clear();
      this.ask.without.clear();
      this.changed();
      this.form.querySelector("input").focus();
    }, { class: "button is-wide", id: "clear-filters" });
    return this.clear;
  }

  #drawDiversity() {
    this.diversityOut.textContent = this.ask.diversity.toFixed(1);
    this.diversity.style.setProperty("--done", `${100 * this.ask.diversity}%`);
  }

  /** Shows the question as it is. Where words alone or an item are asked about, the profile's own controls do nothing. */
  sync() {
    const { ask } = this;
    const profile = ask.mode === "recommend";
    this.diversity.value = String(ask.diversity);
    this.#drawDiversity();
    this.diversity.disabled = !profile;
    this.hideSeen.field.checked = ask.hideSeen;
    this.hideSeen.field.disabled = !profile;
    this.wordsAlone.field.checked = ask.wordsAlone;
    if (this.ratingWords) {
      this.ratingWords.field.checked = ask.ratingWords;
      this.ratingWords.field.disabled = !profile;
    }
    for (const one of [...this.categories, ...this.media]) {
      one.field.checked = ask[one.field.name].has(one.field.value);
      one.field.disabled = ask.mode === "similar";
    }
    this.clear.disabled = !ask.filters;
    const count = byId("controls-count");
    const set = ask.categories.size + ask.media.size + (ask.diversity > 0 ? 1 : 0);
    count.hidden = !set;
    count.textContent = `${set} set`;
  }
}
