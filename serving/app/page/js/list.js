// The list of cards: known cards are moved, new ones are marked, and the focus is kept.

import { card } from "./card.js";

export class List {
  /**
   * @param {HTMLElement} node of the list
   * @param {HTMLElement} heading gets the focus if no card is left
   */
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
   * Shows these items and returns how many of them are new.
   * @param {boolean} mark whether new cards are marked
   */
  show(items, about, act, mark) {
    const focus = this.#saveFocus();
    const previous = this.cards;
    this.cards = new Map();
    let numNew = 0;
    for (const item of items) {
      const known = previous.get(item.id);
      const shown = known ?? card(item, about, act);
      known?.update(item);
      shown.node.classList.toggle("is-new", mark && !known);
      if (!known) numNew += 1;
      this.cards.set(item.id, shown);
    }
    this.#arrange(items.map((item) => this.cards.get(item.id).node));
    this.#restoreFocus(focus);
    return numNew;
  }

  /** Puts the nodes in order with few moves, because a moved node loses the focus and stops its sound. */
  #arrange(nodes) {
    const wanted = new Set(nodes);
    for (const node of [...this.node.children]) if (!wanted.has(node)) node.remove();
    nodes.forEach((node, index) => {
      if (this.node.children[index] !== node) this.node.insertBefore(node, this.node.children[index] ?? null);
    });
  }

  /** The index of the card with the focus, and the button of it. */
  #saveFocus() {
    const focused = document.activeElement;
    const index = [...this.node.children].findIndex((node) => node.contains(focused));
    return index < 0 ? null : { focused, index, act: focused.dataset.act ?? "like" };
  }

  #restoreFocus(saved) {
    if (!saved || document.activeElement === saved.focused) return;
    if (this.node.contains(saved.focused)) {
      saved.focused.focus({ preventScroll: true });
      return;
    }
    const next = this.node.children[Math.min(saved.index, this.node.children.length - 1)];
    (next?.querySelector(`[data-act="${saved.act}"]`) ?? this.heading).focus({ preventScroll: true });
  }
}
