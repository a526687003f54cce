/**
 * A proof for others: an in-toto Statement about the result's git tree, signed by an SSH key where one is given, with the
 * trees in a git bundle. Whoever has the folder and the signer's public key needs nothing but git and ssh-keygen.
 */
import { dirname, join } from "node:path";

import { OmkError } from "../errors.ts";
import { renderDocument } from "../format/json.ts";
import { Proof } from "../format/proof.ts";
import { shellQuoted } from "../format/shell.ts";
import { PREDICATE_TYPE, STATEMENT_TYPE, type Statement } from "../format/statement.ts";
import { KeptTrees, type KeptTree } from "../git/kept-trees.ts";
import type { Processes } from "../ports.ts";
import { sha256 } from "../store/event-line.ts";
import { ensureFolder, replaceFile } from "../store/files.ts";
import { readDocument } from "../store/journal.ts";
import type { GoalPorts } from "./open.ts";
import { withTemporary } from "./temporary.ts";
import { verifyProof } from "./verify-proof.ts";

/** What signatures are for: one made for something else does not pass for a proof's. */
export const SIGNATURE_NAMESPACE = "omk-proof";

/** Names in an export. */
const NAMES = {
  statement: "statement.json",
  signature: "statement.json.sig",
  proof: "proof.json",
  bundle: "trees.bundle",
  guide: "how-to-check.md",
} as const;

const OWN_NAMES: ReadonlySet<string> = new Set(Object.values(NAMES));
/** The bundle while git writes it. */
const UNFINISHED_BUNDLE = "trees.bundle.unfinished";

/** What an export that was cut short leaves: the bundle with git's lock beside it, and files that were being replaced. */
function isUnfinished(name: string): boolean {
  if (name.startsWith(UNFINISHED_BUNDLE)) return true;
  const own = /^\.(.+)\.\d+\.[a-z0-9]+\.tmp$/.exec(name)?.[1];
  return own !== undefined && OWN_NAMES.has(own);
}

/** Names of the two commits in the bundle. */
const RESULT_REF = "refs/omk/result";
const BASE_REF = "refs/omk/base";

/** What is to be exported, and where to. */
interface ExportRequest {
  /** Absolute; made when missing. */
  out: string;
  /** The SSH key to sign with: a private one, or the public one of a key that the agent holds. */
  key?: string;
  /** Where the caller's SSH agent listens. */
  agentSocket?: string;
  /** Whether the trees come along. */
  bundle: boolean;
}

/** What was written. */
export interface Exported {
  goal_id: string;
  folder: string;
  status: string;
  commit: string;
  tree: string;
  statement_sha256: string;
  files: string[];
  signed: boolean;
}

/** What signing needs of the world, beside what goals need. */
type ExportPorts = GoalPorts & { processes: Pick<Processes, "run"> };

/** Writes the export of a goal's proof, which must hold. The same proof gives the same statement, byte for byte. */
export async function exportProof(
  { folder, id }: { folder: string; id: string },
  request: ExportRequest,
  ports: ExportPorts,
  signal: AbortSignal,
): Promise<Exported> {
  const [first] = verifyProof(folder, id, ports).faults;
  if (first) {
    throw new OmkError(
      "proof.invalid",
      `The proof of goal ${id} does not hold: ${first.file}: ${first.because}.`,
      {
        hint: `See all that was found: omk proof verify ${id}`,
      },
    );
  }
  const { proof, bytes } = readProof(folder, id, ports);
  const resultTree = proof.result?.tree;
  if (!resultTree) {
    throw new OmkError(
      "proof.missing",
      `Goal ${id} has no result: there is nothing to state anything about.`,
      {
        hint: `Let an agent work on it: omk goal resume ${id} --until-ready`,
      },
    );
  }
  const { out } = request;
  refuseForeign(out, ports);
  return withTemporary("export", ports, async (temporary) => {
    const projectDir = projectDirIn(folder, ports);
    const places = { goalId: id, goalDir: folder, projectDir, temporary, environment: ports.environment };
    const kept = await KeptTrees.open(places, ports, signal);
    const result = await found(kept, resultTree, id, signal);
    const statement = renderDocument(statementOf(proof, sha256(bytes), result));
    const signature =
      request.key === undefined ? undefined : await sign(statement, request.key, request, ports, signal);
    await ensureFolder(out, ports);
    const files: string[] = [];
    const write = async (name: string, content: string | Uint8Array) => {
      await replaceFile(join(out, name), content, ports);
      files.push(name);
    };
    await write(NAMES.proof, bytes);
    await write(NAMES.statement, statement);
    if (signature !== undefined) await write(NAMES.signature, signature);
    else removeOld(join(out, NAMES.signature), ports);
    for (const name of ports.disk.list(out).filter(isUnfinished)) removeOld(join(out, name), ports);
    if (request.bundle) {
      const base = proof.base?.tree ? await kept.find(proof.base.tree, signal) : undefined;
      const refs = { [RESULT_REF]: result.commit, ...(base && { [BASE_REF]: base.commit }) };
      // Beside its place: half a bundle under the right name would be taken for one.
      await kept.bundle(refs, join(out, UNFINISHED_BUNDLE), signal);
      await settle(join(out, UNFINISHED_BUNDLE), join(out, NAMES.bundle), ports);
      files.push(NAMES.bundle);
    } else removeOld(join(out, NAMES.bundle), ports);
    await write(
      NAMES.guide,
      guide(id, result, {
        base: proof.base?.tree ?? undefined,
        signed: signature !== undefined,
        bundle: request.bundle,
      }),
    );
    return {
      goal_id: id,
      folder: out,
      status: proof.status,
      commit: result.commit,
      tree: result.tree,
      statement_sha256: sha256(statement),
      files,
      signed: signature !== undefined,
    };
  });
}

/** Gives a file that another program has written its name, for good. */
async function settle(from: string, to: string, { disk }: GoalPorts): Promise<void> {
  const file = disk.open(from, "edit");
  try {
    await file.sync();
  } finally {
    file.close();
  }
  disk.rename(from, to);
  await disk.syncFolder(dirname(to));
}

function readProof(folder: string, id: string, ports: GoalPorts): { proof: Proof; bytes: Uint8Array } {
  const bytes = ports.disk.readFile(join(folder, "proof.json"));
  const parsed = readDocument(join(folder, "proof.json"), ports);
  const proof = parsed.state === "found" ? Proof.safeParse(parsed.record) : undefined;
  if (proof?.success === true) return { proof: proof.data, bytes };
  throw new OmkError("proof.missing", `The proof of goal ${id} cannot be read.`, {
    hint: `Make it anew: omk goal verify ${id}`,
  });
}

function projectDirIn(folder: string, ports: GoalPorts): string {
  const goal = readDocument(join(folder, "goal.json"), ports);
  const recorded = goal.state === "found" ? goal.record["project_dir"] : undefined;
  // Where it is gone, the goal's own git directory may have all there is.
  return typeof recorded === "string" && ports.disk.stat(recorded) ? recorded : folder;
}

async function found(kept: KeptTrees, tree: string, id: string, signal: AbortSignal): Promise<KeptTree> {
  const commit = await kept.find(tree, signal);
  if (commit) return commit;
  throw new OmkError("git.failed", `The result tree ${tree} of goal ${id} is kept no more.`, {
    hint: `Its ref below refs/omk/rescue/${id}/ was deleted. omk goal verify ${id} makes it anew from the project.`,
  });
}

/** An export replaces an earlier one, also half of one, and nothing else. */
function refuseForeign(out: string, { disk }: GoalPorts): void {
  const there = disk.stat(out);
  if (!there) return;
  if (there.kind === "folder") {
    const names = disk.list(out);
    const isOwn = (name: string) => OWN_NAMES.has(name) || isUnfinished(name);
    if (names.includes(NAMES.statement) || names.every(isOwn)) return;
  }
  throw new OmkError("usage.invalid", `${out} is there already, and is no export of a proof.`, {
    hint: "Name a folder that is new or empty with --out.",
  });
}

/** What an earlier export left that this one does not have: it would be taken for a part of it. */
function removeOld(path: string, { disk }: GoalPorts): void {
  if (disk.stat(path)) disk.remove(path);
}

/** The statement; the order of its keys is that in which they stand here. */
function statementOf(proof: Proof, proofSha256: string, { commit, tree }: KeptTree): Statement {
  const { oracle_evidence: oracle, integration_evidence: decision, engine } = proof;
  return {
    _type: STATEMENT_TYPE,
    subject: [
      { name: "result tree", digest: { gitTree: tree } },
      { name: "result commit", digest: { gitCommit: commit } },
    ],
    predicateType: PREDICATE_TYPE,
    predicate: {
      goal_id: proof.goal_id,
      summary: proof.summary,
      status: proof.status,
      readiness: proof.readiness,
      reason_code: proof.reason_code ?? null,
      gaps: (proof.gaps ?? []).map(({ code, text }) => ({ code, text })),
      generated_at: proof.generated_at,
      omk_version: proof.omk_version ?? null,
      base: { commit: proof.base?.commit ?? null, tree: proof.base?.tree ?? null },
      changed_files: proof.changed_files,
      gates: proof.gates.map((gate) => ({
        name: gate.name,
        command_line: gate.command_line,
        required: gate.required,
        verdict: gate.verdict ?? (gate.passed ? "passed" : "failed"),
        base: gate.base ?? null,
        log_sha256: gate.output?.sha256 ?? null,
      })),
      clean_checkout: proof.clean_checkout?.status ?? "not_run",
      oracle: oracle
        ? {
            kind: oracle.kind,
            status: oracle.status,
            checks: oracle.checks.map(({ name, status }) => ({ name, status })),
          }
        : null,
      acceptance: decision
        ? { status: decision.status, summary: decision.summary, decided_at: decision.decided_at }
        : null,
      waivers: (proof.waivers ?? []).map(({ kind, what, reason }) => ({ kind, what, reason })),
      engine: { name: engine?.name ?? null, version: engine?.version ?? null },
      sandbox: proof.sandbox ?? null,
      proof_sha256: proofSha256,
      log: proof.log ? { seq: proof.log.seq, digest: proof.log.digest } : null,
    },
  };
}

/** A key that has to be touched, or an agent that asks, needs a person's time. */
const SIGN_MS = 60_000;

/** The signature as ssh-keygen writes it. Nothing is ever asked for: without a terminal it would wait for ever. */
async function sign(
  statement: string,
  key: string,
  { agentSocket }: ExportRequest,
  ports: ExportPorts,
  signal: AbortSignal,
): Promise<Uint8Array> {
  if (ports.disk.stat(ports.disk.realPath(key) ?? key)?.kind !== "file") {
    throw new OmkError("usage.invalid", `--sign ${key}: there is no such file.`, {
      hint: "Name an SSH key, e.g. ~/.ssh/id_ed25519. To make one: ssh-keygen -t ed25519",
    });
  }
  const { environment } = ports;
  const run = await ports.processes.run(
    {
      // An empty passphrase is given, so that none is asked for, or read from the statement.
      argv: ["ssh-keygen", "-Y", "sign", "-P", "", "-n", SIGNATURE_NAMESPACE, "-f", key],
      cwd: "/",
      env: {
        PATH: environment["PATH"] ?? "",
        ...(environment["HOME"] !== undefined && { HOME: environment["HOME"] }),
        ...(agentSocket !== undefined && { SSH_AUTH_SOCK: agentSocket }),
        SSH_ASKPASS_REQUIRE: "never",
        LC_ALL: "C",
      },
      stdin: Buffer.from(statement),
      timeoutMs: SIGN_MS,
      outputBytesMax: 64 * 1024,
      endsAll: true,
    },
    signal,
  );
  const isSigned = run.exit.kind === "exited" && run.exit.code === 0 && !run.timedOut;
  if (isSigned && run.stdout.length > 0) return run.stdout;
  const because = run.timedOut
    ? `it took longer than ${SIGN_MS / 1000} s`
    : run.exit.kind === "not_started"
      ? "ssh-keygen is not installed"
      : run.stderr.trim().slice(-500);
  throw new OmkError("proof.unsigned", `The statement could not be signed with ${key}: ${because}`, {
    hint:
      `For a key with a passphrase: ssh-add ${shellQuoted(key.replace(/\.pub$/, ""))}, then --sign ${shellQuoted(key.endsWith(".pub") ? key : `${key}.pub`)}. ` +
      "Nothing was written.",
  });
}

/** How to check this very export; `docs/verify-a-proof.md` explains it. */
function guide(
  id: string,
  { commit, tree }: KeptTree,
  has: { base: string | undefined; signed: boolean; bundle: boolean },
): string {
  const baseLines =
    has.base === undefined
      ? []
      : [
          `    test "$(git --git-dir kept.git rev-parse '${BASE_REF}^{tree}')" = ${has.base}`,
          `    grep '"tree": "${has.base}"' ${NAMES.statement}`,
        ];
  const signature = [
    "Who signed it. `allowed_signers` holds a line with the signer's name and public key, which you must have from them",
    'and not from here: `<name> namespaces="omk-proof" ssh-ed25519 AAAA…`',
    "",
    `    ssh-keygen -Y verify -f allowed_signers -I <name> -n ${SIGNATURE_NAMESPACE} -s ${NAMES.signature} < ${NAMES.statement}`,
    "",
  ];
  const trees = [
    "What it is about. git hashes everything anew while it fetches:",
    "",
    "    git init --quiet --bare kept.git",
    `    git --git-dir kept.git fetch --quiet ${NAMES.bundle} 'refs/omk/*:refs/omk/*'`,
    `    test "$(git --git-dir kept.git rev-parse '${RESULT_REF}^{tree}')" = ${tree}`,
    `    test "$(git --git-dir kept.git rev-parse ${RESULT_REF})" = ${commit}`,
    `    grep '"gitTree": "${tree}"' ${NAMES.statement}`,
    ...baseLines,
    "",
    `What was changed: \`git --git-dir kept.git diff ${BASE_REF} ${RESULT_REF}\`.`,
    "",
  ];
  const kept = [
    "What it is about, in the repository the goal worked in:",
    "",
    `    git rev-parse 'refs/omk/rescue/${id}/result^{tree}'`,
    `    grep '"gitTree": "${tree}"' ${NAMES.statement}`,
    "",
  ];
  return [
    `# How to check the proof of ${id}`,
    "",
    ...(has.signed ? signature : ["This export is not signed.", ""]),
    ...(has.bundle ? trees : kept),
    `The whole proof: \`${NAMES.proof}\` must have the SHA-256 that \`proof_sha256\` in the statement names.`,
    "",
  ].join("\n");
}
