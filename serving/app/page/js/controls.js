// Diversity slider, filters and switches. Drawn once from /about; `sync` shows the state of the request.

import { el, byId, button } from "./dom.js";

const NUM_SHOWN = 12; // categories before "Show all"
const SLIDER_DELAY = 200; // ms without movement before a list is requested

const MEDIA_LABELS = { image: "has a picture", audio: "has a sound" };

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
   * @param {import("./list_request.js").ListRequest} request is changed in place
   * @param {() => void} onChange
   */
  constructor(about, request, onChange) {
    this.request = request;
    this.onChange = onChange;
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
      this.request.diversity = Number(this.diversity.value);
      this.#drawDiversity();
      clearTimeout(timer);
      timer = setTimeout(this.onChange, SLIDER_DELAY);
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
    const control = toggle(label, "switch", (on) => {
      this.request[name] = on;
      this.onChange();
    });
    control.field.id = `switch-${name}`;
    if (hint) control.node.append(el("small", { class: "hint" }, hint));
    return control;
  }

  #pill(name, value, label, title) {
    const control = toggle(label, "pill", (on) => {
      if (on) this.request[name].add(value);
      else this.request[name].delete(value);
      this.onChange();
    });
    control.field.name = name;
    control.field.value = value;
    if (title) control.node.title = title;
    return control;
  }

  #categories(about) {
    this.categories = about.categories.map(({ name, items }) => this.#pill("categories", name, name, `${items} items`));
    if (!this.categories.length) return [];
    const box = el("div", { class: "pills" }, this.categories.map((control) => control.node));
    const hasMore = this.categories.length > NUM_SHOWN;
    const showAll = button(`Show all ${this.categories.length}`, () => {
      box.classList.add("is-open");
      showAll.remove();
      this.categories[NUM_SHOWN].field.focus();
    }, { class: "link" });
    if (!hasMore) box.classList.add("is-open");
    this.categories.slice(NUM_SHOWN).forEach((control) => control.node.classList.add("is-further"));
    return [group("Any of these categories", box, hasMore ? showAll : null)];
  }

  #media(about) {
    this.media = Object.entries(about.media).map(([name, kind]) => {
      const isOnlyOne = Object.values(about.media).filter((other) => other === kind).length === 1;
      return this.#pill("media", name, isOnlyOne ? MEDIA_LABELS[kind] ?? `has ${name}` : `has ${name}`);
    });
    return this.media.length ? [group("Only what", el("div", { class: "pills is-open" }, this.media.map((control) => control.node)))] : [];
  }

  #words(about) {
    this.ratingWords = about.rating ? this.#switch("Put my ratings into words", "ratingWords", "What you liked, also sent to the text model") : null;
    this.textOnly = this.#switch("Answer from words alone", "textOnly", "A search that does not look at your profile");
    return group("Words", this.ratingWords?.node, this.textOnly.node);
  }

  #reset() {
    this.clear = button("Clear filters", () => {
      this.request.categories.clear();
      this.request.media.clear();
      this.request.without.clear();
      this.onChange();
      this.form.querySelector("input").focus();
    }, { class: "button is-wide", id: "clear-filters" });
    return this.clear;
  }

  #drawDiversity() {
    this.diversityOut.textContent = this.request.diversity.toFixed(1);
    this.diversity.style.setProperty("--done", `${100 * this.request.diversity}%`);
  }

  /** Shows the state of the request. The controls of the profile are disabled in searches and for similar items. */
  sync() {
    const { request } = this;
    const usesProfile = request.mode === "recommend";
    this.diversity.value = String(request.diversity);
    this.#drawDiversity();
    this.diversity.disabled = !usesProfile;
    this.hideSeen.field.checked = request.hideSeen;
    this.hideSeen.field.disabled = !usesProfile;
    this.textOnly.field.checked = request.textOnly;
    if (this.ratingWords) {
      this.ratingWords.field.checked = request.ratingWords;
      this.ratingWords.field.disabled = !usesProfile;
    }
    for (const { field } of [...this.categories, ...this.media]) {
      field.checked = request[field.name].has(field.value);
      field.disabled = request.mode === "similar";
    }
    this.clear.disabled = !request.numFilters;
    const count = byId("controls-count");
    const numSet = request.categories.size + request.media.size + (request.diversity > 0 ? 1 : 0);
    count.hidden = !numSet;
    count.textContent = `${numSet} set`;
  }
}
