// The list on the page: cards that stay are moved, new ones are marked, and the focus does not get lost.

import { card } from "./card.js";

export class List {
  /** @param {HTMLElement} node of the list; @param {HTMLElement} heading gets the focus where no card is left */
  constructor(node, heading) {
    this.node = node;
    this.heading = heading;
    /** @type {Map<string, {node: HTMLElement, update: (item: object) => void}>} */
    this.cards = new Map();
  }

  get ids() {
    return [...this.cards.keys()];
  }

  clear() {
    this.cards.clear();
    this.node.replaceChildren();
  }

  /**
   * Shows these items. Returns how many of them were not there before.
   * @param {boolean} mark whether the new ones are marked as such
   */
  show(items, about, act, mark) {
    const held = this.#held();
    const before = this.cards;
    this.cards = new Map();
    let fresh = 0;
    for (const item of items) {
      const known = before.get(item.id);
      const one = known ?? card(item, about, act);
      known?.update(item);
      one.node.classList.toggle("is-new", mark && !known);
      if (!known) fresh += 1;
      this.cards.set(item.id, one);
    }
    this.#place(items.map((item) => this.cards.get(item.id).node));
    this.#hold(held);
    return fresh;
  }

  /** In this order, moving as few nodes as may be: a node that is taken out and put back loses focus and sound. */
  #place(nodes) {
    const wanted = new Set(nodes);
    for (const node of [...this.node.children]) if (!wanted.has(node)) node.remove();
    nodes.forEach((node, place) => {
      if (this.node.children[place] !== node) this.node.insertBefore(node, this.node.children[place] ?? null);
    });
  }

  /** Where the focus is: which card, by place, and which of its buttons. */
  #held() {
    const focused = document.activeElement;
    const place = [...this.node.children].findIndex((one) => one.contains(focused));
    return place < 0 ? null : { focused, place, act: focused.dataset.act ?? "like" };
  }

  #hold(held) {
    if (!held || document.activeElement === held.focused) return;
    if (this.node.contains(held.focused)) {
      held.focused.focus({ preventScroll: true });
      return;
    }
    const next = this.node.children[Math.min(held.place, this.node.children.length - 1)];
    (next?.querySelector(`[data-act="${held.act}"]`) ?? this.heading).focus({ preventScroll: true });
  }
}
