/** What was planted in the user's repository while a goal worked keeps it from being delivered until a person says so. */
import { expect, test } from "vitest";

import { createGoal, checkRequest } from "../../src/goal/create.ts";
import { APPROVAL_NEEDED } from "../../src/goal/approvals.ts";
import { OpenGoal } from "../../src/goal/open.ts";
import { recordSteering, steeringEnding } from "../../src/goal/steering.ts";
import { GitPlace } from "../support/git-place.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const ANSWER = { note: null, by: "omk approvals answer" } as const;

/** A goal in simulation whose repository is a real one, with what steered git there recorded. */
async function goalOn(place: GitPlace) {
  const told: string[] = [];
  const simulated = simulatedPorts(new SimulatedDisk(GROUND), new SimulatedProject(1), 1);
  const ports = { ...simulated, tell: (line: string) => void told.push(line) };
  const request = { text: "Fix the failing test", projectDir: PROJECT, engine: "simulated" };
  let open = await createGoal(checkRequest(request, ports), ports, never);
  const git = await place.open();
  await recordSteering(open, git, ports, never);
  return {
    told,
    get open() {
      return open;
    },
    ending: () => steeringEnding(open, { sliced: { git } }, ports, never),
    async reopen() {
      await open.close();
      open = await OpenGoal.open(open.id, open.folder, "goal resume", ports, never);
    },
    kinds: () => open.approvals.records.map(({ status }) => status),
  };
}

test("what was planted asks a person once, and a yes to it lets the goal go on, also after omk was killed", async () => {
  using place = new GitPlace({ "a.txt": "a\n" });
  const goal = await goalOn(place);
  expect(await goal.ending()).toBeUndefined();
  place.write(place.project, { ".git/hooks/pre-commit": "curl example.org\u001b[2J\n" });
  place.git("config", "alias.st", "!evil");
  place.git("config", "branch.main.remote", "origin");

  const asked = await goal.ending();
  expect(asked).toMatchObject({ status: "blocked_on_human", reasonCode: APPROVAL_NEEDED });
  const [record] = goal.open.approvals.open;
  expect(asked?.reason).toContain(`omk approvals answer ${record?.id} approve`);
  expect(record).toMatchObject({
    kind: "git_steering",
    targets: ["alias.st", "hooks/pre-commit"],
    on_timeout: "block",
    shown: [
      { label: "added alias", text: "alias.st\n!evil" },
      { label: "added hook", text: "hooks/pre-commit\ncurl example.org\\u{1b}[2J\n" },
    ],
  });
  // The others are told of once, and stop nothing.
  expect(goal.told.filter((line) => line.includes("branch.main.remote"))).toHaveLength(1);
  await goal.reopen();
  expect(await goal.ending()).toEqual(asked);
  expect(goal.kinds()).toEqual(["open"]);

  await goal.open.approvals.answer(record?.id ?? "", { ...ANSWER, decision: "approve" }, null);
  await goal.reopen();
  expect(await goal.ending()).toBeUndefined();
  await goal.reopen();
  expect(await goal.ending()).toBeUndefined();
  expect(goal.kinds()).toEqual(["approved"]);
  // The yes was to this and to nothing else.
  place.git("config", "alias.st", "!more");
  expect(await goal.ending()).toMatchObject({ reasonCode: APPROVAL_NEEDED });
  expect(goal.kinds()).toEqual(["approved", "open"]);
  expect(goal.told.filter((line) => line.includes("branch.main.remote"))).toHaveLength(2);
  await goal.open.close();
});

test("a no keeps the goal blocked with the person's words, and what is taken away is asked about no more", async () => {
  using place = new GitPlace({ "a.txt": "a\n" });
  const goal = await goalOn(place);
  place.git("config", "filter.evil.clean", "evil");
  await goal.ending();
  const [record] = goal.open.approvals.open;
  const no = { ...ANSWER, decision: "reject", note: "what is that?" } as const;
  await goal.open.approvals.answer(record?.id ?? "", no, null);
  const refused = await goal.ending();
  expect(refused).toMatchObject({ status: "blocked_on_human", reasonCode: "steering_refused" });
  expect(refused?.reason).toContain('("what is that?")');
  // Still there: asked again, since somebody said to go on.
  expect(await goal.ending()).toMatchObject({ reasonCode: APPROVAL_NEEDED });
  place.git("config", "--unset", "filter.evil.clean");
  expect(await goal.ending()).toBeUndefined();
  expect(goal.kinds()).toEqual(["rejected", "withdrawn"]);
  await goal.open.close();
});

test("neither what is recorded nor what is asked holds a secret", async () => {
  using place = new GitPlace({ "a.txt": "a\n" });
  const goal = await goalOn(place);
  const secret = `ghp_${"a1B2".repeat(9)}`;
  place.git("config", `url.https://u:${secret}@example.org/.insteadOf`, "ex:");
  place.git("config", "remote.origin.url", `https://u:${secret}@example.org/`);
  place.git("config", "alias.push", `!git push https://u:${secret}@example.org`);
  expect(await goal.ending()).toMatchObject({ reasonCode: APPROVAL_NEEDED });
  expect(JSON.stringify([goal.open.work.steering, goal.open.approvals.records, goal.told])).not.toContain(
    secret,
  );
  expect(JSON.stringify(goal.open.work.steering)).not.toContain("git push");
  await goal.open.close();
});

test("a goal in place, and one whose repository is as it was, are asked about nothing", async () => {
  using place = new GitPlace({ "a.txt": "a\n" });
  place.write(place.project, { ".git/hooks/pre-push": "true\n" });
  place.git("config", "core.fsmonitor", "true");
  const goal = await goalOn(place);
  expect(await goal.ending()).toBeUndefined();
  expect(await steeringEnding(goal.open, {}, {} as never, never)).toBeUndefined();
  expect(goal.kinds()).toEqual([]);
  await goal.open.close();
});
