// The users of this browser: ids of 128 random bits, which are the keys to their profiles, in localStorage.

import { randomId, read } from "./api.js";

const KEY = "triptych.users";

/** @typedef {{id: string, name: string}} User */

function stored() {
  try {
    const kept = JSON.parse(read("localStorage", KEY) || "{}");
    const users = Array.isArray(kept.users) ? kept.users.filter((one) => typeof one?.id === "string" && one.id) : [];
    return { users, current: kept.current };
  } catch {
    return { users: [], current: "" }; // nothing readable there: a newcomer
  }
}

export class Users {
  constructor() {
    const { users, current } = stored();
    /** @type {User[]} */
    this.all = users.map((one) => ({ id: one.id, name: String(one.name ?? "Visitor") }));
    this.current = this.all.find((one) => one.id === current) ?? this.all[0] ?? this.add();
    this.save();
  }

  /** A newcomer, who is the current user from now on. */
  add() {
    const taken = this.all.map((one) => Number(/^Visitor (\d+)$/.exec(one.name)?.[1] ?? 0));
    const user = { id: randomId(), name: `Visitor ${Math.max(0, ...taken) + 1}` };
    this.all.push(user);
    this.current = user;
    this.save();
    return user;
  }

  choose(id) {
    this.current = this.all.find((one) => one.id === id) ?? this.current;
    this.save();
  }

  /** After "forget me": the same name with another id, so that nothing leads from the old one to the new one. */
  renew() {
    this.current.id = randomId();
    this.save();
  }

  save() {
    try {
      localStorage.setItem(KEY, JSON.stringify({ users: this.all, current: this.current.id }));
    } catch {
      // A browser that keeps nothing: the user lasts as long as the page.
    }
  }
}
