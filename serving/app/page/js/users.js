// The users of this browser, in localStorage. Their ids of 128 random bits are the keys to their profiles.

import { randomId, read } from "./api.js";

const KEY = "triptych.users";

/** @typedef {{id: string, name: string}} User */

function readStored() {
  try {
    const stored = JSON.parse(read("localStorage", KEY) || "{}");
    const users = Array.isArray(stored.users) ? stored.users.filter((user) => typeof user?.id === "string" && user.id) : [];
    return { users, current: stored.current };
  } catch {
    return { users: [], current: "" }; // unreadable: start with a new user
  }
}

export class Users {
  constructor() {
    const { users, current } = readStored();
    /** @type {User[]} */
    this.all = users.map(({ id, name }) => ({ id, name: String(name ?? "Visitor") }));
    this.current = this.all.find((user) => user.id === current) ?? this.all[0] ?? this.add();
    this.save();
  }

  /** Adds a user and makes it the current one. */
  add() {
    const numbers = this.all.map((user) => Number(/^Visitor (\d+)$/.exec(user.name)?.[1] ?? 0));
    const user = { id: randomId(), name: `Visitor ${Math.max(0, ...numbers) + 1}` };
    this.all.push(user);
    this.current = user;
    this.save();
    return user;
  }

  choose(id) {
    this.current = this.all.find((user) => user.id === id) ?? this.current;
    this.save();
  }

  /** Gives the current user a new id after "Forget me", so that nothing links the two ids. */
  renew() {
    this.current.id = randomId();
    this.save();
  }

  save() {
    try {
      localStorage.setItem(KEY, JSON.stringify({ users: this.all, current: this.current.id }));
    } catch {
      // Without storage the user lasts as long as the page.
    }
  }
}
