// The state of the current list request, and the query parameters it becomes. No access to the page.

export const PAGE_SIZE = 12;
export const MAX_TURNS = 16; // the limit of the app
const MAX_WITHOUT = 500;

export class ListRequest {
  constructor() {
    this.diversity = 0;
    this.hideSeen = true;
    this.ratingWords = false;
    this.textOnly = false;
    this.clear();
  }

  /** Removes query and filters; diversity and the switches stay. */
  clear() {
    this.categories = new Set();
    this.media = new Set();
    /** @type {Map<string, string>} item id -> title of the items that are left out for now ("Not this") */
    this.without = new Map();
    this.turns = [];
    /** @type {{key: string, label: string, turn: number}[]} removed conditions, whose words count as text */
    this.dropped = [];
    /** @type {{id: string, title: string} | null} the item of "Similar" */
    this.similar = null;
    this.k = PAGE_SIZE;
  }

  addTurn(words) {
    this.similar = null;
    this.k = PAGE_SIZE;
    this.turns = [...this.turns, words];
    if (this.turns.length > MAX_TURNS) this.removeTurn(0);
  }

  removeTurn(turn) {
    this.turns = this.turns.filter((_, index) => index !== turn);
    this.dropped = this.dropped
      .filter((condition) => condition.turn !== turn)
      .map((condition) => (condition.turn > turn ? { ...condition, turn: condition.turn - 1 } : condition));
  }

  /** Removes a condition that the app found in the query. */
  dropCondition({ key, label, turn }) {
    this.dropped = [...this.dropped.filter((condition) => condition.key !== key), { key, label, turn }].slice(-MAX_TURNS);
  }

  restoreCondition(key) {
    this.dropped = this.dropped.filter((condition) => condition.key !== key);
  }

  exclude(item) {
    this.without.set(item.id, item.title);
    if (this.without.size > MAX_WITHOUT) this.without.delete(this.without.keys().next().value);
  }

  /** The route that answers: "similar", "search" (independent of the user) or "recommend". */
  get mode() {
    if (this.similar) return "similar";
    return this.textOnly && this.turns.length ? "search" : "recommend";
  }

  /** Number of filters that may leave the list empty. */
  get numFilters() {
    return this.categories.size + this.media.size + this.without.size;
  }

  get params() {
    const filters = {
      k: this.k,
      turn: this.turns,
      drop: this.dropped.map((condition) => condition.key),
      category: [...this.categories],
      media: [...this.media],
    };
    if (this.mode === "search") return filters;
    return {
      ...filters,
      without: [...this.without.keys()],
      diversity: this.diversity,
      hide_seen: this.hideSeen,
      rating_words: this.ratingWords,
    };
  }
}
