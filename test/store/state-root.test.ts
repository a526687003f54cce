/** Where state lies, by the variables that say so. */
import { expect, test } from "vitest";

import { stateRoot } from "../../src/store/state-root.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";

const disk = new SimulatedDisk({ folders: ["/home", "/home/me"] });
const legacy = new SimulatedDisk({
  folders: ["/home", "/home/old", "/home/old/.omk", "/home/old/.omk/state"],
});

test.each([
  ["an absolute one", { XDG_STATE_HOME: "/xdg" }, "/xdg/omk"],
  ["a relative one, which counts as unset", { XDG_STATE_HOME: "xdg" }, "/home/me/.local/state/omk"],
  ["a relative one with a dot", { XDG_STATE_HOME: "./xdg" }, "/home/me/.local/state/omk"],
  ["an empty one", { XDG_STATE_HOME: "" }, "/home/me/.local/state/omk"],
  ["none", {}, "/home/me/.local/state/omk"],
])("XDG_STATE_HOME: %s", (_name, variables, root) => {
  expect(stateRoot({ HOME: "/home/me", ...variables }, { disk })).toBe(root);
});

test("OMK_STATE_DIR outranks it and must be absolute; state that is there already stays where it is", () => {
  const variables = { HOME: "/home/old", XDG_STATE_HOME: "/xdg" };
  expect(stateRoot(variables, { disk: legacy })).toBe("/home/old/.omk/state");
  expect(stateRoot({ ...variables, OMK_STATE_DIR: "/mine" }, { disk: legacy })).toBe("/mine");
  expect(() => stateRoot({ ...variables, OMK_STATE_DIR: "mine" }, { disk })).toThrow("absolute");
  expect(() => stateRoot({ HOME: "relative", XDG_STATE_HOME: "relative" }, { disk })).toThrow("no place");
});
