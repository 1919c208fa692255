// What the user asks for, and the parameters that it becomes. Nothing of the page in here.

export const PAGE_SIZE = 12;
export const MOST_TURNS = 16; // of the app's own
const MOST_WITHOUT = 500;

export class Ask {
  constructor() {
    this.diversity = 0;
    this.hideSeen = true;
    this.ratingWords = false;
    this.wordsAlone = false;
    this.clear();
  }

  /** Everything that leaves items out or turns the list towards something; not the ways of ordering it. */
  clear() {
    this.categories = new Set();
    this.media = new Set();
    /** @type {Map<string, string>} item -> title of what is left out for now ("not this") */
    this.without = new Map();
    this.clearWords();
  }

  clearWords() {
    this.turns = [];
    /** @type {{key: string, label: string, turn: number}[]} conditions that were taken back: their words are text again */
    this.dropped = [];
    /** @type {{id: string, title: string} | null} */
    this.similar = null;
    this.k = PAGE_SIZE;
  }

  say(words) {
    this.similar = null;
    this.k = PAGE_SIZE;
    this.turns = [...this.turns, words];
    if (this.turns.length > MOST_TURNS) this.unsay(0);
  }

  unsay(turn) {
    this.turns = this.turns.filter((_, place) => place !== turn);
    this.dropped = this.dropped.filter((one) => one.turn !== turn).map((one) => (one.turn > turn ? { ...one, turn: one.turn - 1 } : one));
  }

  drop({ key, label, turn }) {
    this.dropped = [...this.dropped.filter((one) => one.key !== key), { key, label, turn }].slice(-MOST_TURNS);
  }

  undrop(key) {
    this.dropped = this.dropped.filter((one) => one.key !== key);
  }

  leaveOut(item) {
    this.without.set(item.id, item.title);
    if (this.without.size > MOST_WITHOUT) this.without.delete(this.without.keys().next().value);
  }

  /** Which of the app's addresses answers: "similar", "search" (words, nobody's profile) or "recommend". */
  get mode() {
    if (this.similar) return "similar";
    return this.wordsAlone && this.turns.length ? "search" : "recommend";
  }

  /** How many filters are set that may be the reason for an empty list. */
  get filters() {
    return this.categories.size + this.media.size + this.without.size;
  }

  get params() {
    const filters = { k: this.k, turn: this.turns, drop: this.dropped.map((one) => one.key), category: [...this.categories], media: [...this.media] };
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
