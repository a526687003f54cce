import { describe, expect, test } from "vitest";
import { RpcClosed, RpcError, RpcPeer } from "../../src/engine/rpc.ts";
import type { RpcHandlers } from "../../src/engine/rpc.ts";
import { BytePipe, turnOfTheLoop } from "./rig.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const nothing: RpcHandlers = { requests: new Map(), notification: () => undefined };

/** A peer, with the raw bytes of the other side in the test's hands. */
function half(handlers: Partial<RpcHandlers> = {}): { peer: RpcPeer; incoming: BytePipe; written: string[] } {
  const incoming = new BytePipe();
  const written: string[] = [];
  const write = (bytes: Uint8Array): Promise<void> => {
    written.push(new TextDecoder().decode(bytes));
    return Promise.resolve();
  };
  return { peer: new RpcPeer({ write, incoming }, { ...nothing, ...handlers }), incoming, written };
}

function pair(left: Partial<RpcHandlers>, right: Partial<RpcHandlers>): [RpcPeer, RpcPeer] {
  const toLeft = new BytePipe();
  const toRight = new BytePipe();
  const into = (pipe: BytePipe) => (bytes: Uint8Array) => {
    pipe.push(bytes);
    return Promise.resolve();
  };
  return [
    new RpcPeer({ write: into(toRight), incoming: toLeft }, { ...nothing, ...left }),
    new RpcPeer({ write: into(toLeft), incoming: toRight }, { ...nothing, ...right }, { ids: "string" }),
  ];
}

describe("two peers", () => {
  test("ask each other at the same time and get their own answers", async () => {
    const double = new Map([
      ["double", async ({ params }: { params: unknown }) => (params as { n: number }).n * 2],
    ]);
    const [left, right] = pair({ requests: double }, { requests: double });
    const asked = [
      left.request("double", { n: 1 }),
      right.request("double", { n: 2 }),
      left.request("double", { n: 3 }),
    ];
    expect(await Promise.all(asked)).toEqual([2, 4, 6]);
  });

  test("answer an unknown method with -32601 and an error of a handler with its code", async () => {
    const failing = async (): Promise<never> => {
      throw new RpcError(-32000, "log in", { how: "somehow" });
    };
    const [left] = pair({}, { requests: new Map([["fail", failing]]) });
    await expect(left.request("toString", {})).rejects.toMatchObject({ code: -32601 });
    await expect(left.request("fail", {})).rejects.toMatchObject({
      code: -32000,
      message: "log in",
      data: { how: "somehow" },
    });
  });

  test("deliver notifications in order, and all of them before the answer that follows", async () => {
    const seen: unknown[] = [];
    const [left, right] = pair(
      { notification: (_method, params) => seen.push(params) },
      {
        requests: new Map([
          [
            "count",
            async () => {
              for (let n = 0; n < 500; n++) void right.notify("tick", { n });
              return seen.length;
            },
          ],
        ]),
      },
    );
    await left.request("count", {});
    expect(seen).toEqual(Array.from({ length: 500 }, (_, n) => ({ n })));
  });
});

describe("a peer", () => {
  test("rejects what is pending when the other side goes, and everything afterwards", async () => {
    const { peer, incoming } = half();
    const asked = peer.request("slow", {});
    incoming.push(text('{"jsonrpc":"2.0","id":1,"resu'));
    incoming.end();
    await expect(asked).rejects.toMatchObject({
      reason: "ended",
      message: expect.stringContaining("29 bytes") as string,
    });
    await expect(peer.request("more", {})).rejects.toBeInstanceOf(RpcClosed);
  });

  test("bears a hundred answers that nobody asked for and ends at the next", async () => {
    const { peer, incoming } = half();
    const asked = peer.request("one", {});
    incoming.push(
      text('{"jsonrpc":"2.0","id":1,"result":"first"}\n{"jsonrpc":"2.0","id":1,"result":"again"}\n'),
    );
    incoming.push(text('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}\n'.repeat(99)));
    expect(await asked).toBe("first");
    const two = peer.request("two", {});
    incoming.push(text('{"jsonrpc":"2.0","id":2,"result":"second"}\n'));
    expect(await two).toBe("second");
    incoming.push(text('{"jsonrpc":"2.0","id":99,"result":1}\n'));
    expect(await peer.closed).toMatchObject({ reason: "protocol" });
  });

  test("does not count the late answer to a request it gave up", async () => {
    const { peer, incoming } = half();
    const giveUp = new AbortController();
    const asked = peer.request("slow", {}, giveUp.signal);
    giveUp.abort(new Error("enough"));
    await expect(asked).rejects.toThrow("enough");
    // Another hundred are borne: the late one was not among them.
    incoming.push(text('{"jsonrpc":"2.0","id":1,"result":1}\n'));
    incoming.push(text('{"jsonrpc":"2.0","id":99,"result":1}\n'.repeat(100)));
    const two = peer.request("two", {});
    incoming.push(text('{"jsonrpc":"2.0","id":2,"result":"second"}\n'));
    expect(await two).toBe("second");
  });

  test.each([
    ["no version", '{"id":1,"result":1}\n'],
    ["neither request nor answer", '{"jsonrpc":"2.0"}\n'],
    ["result and error", '{"jsonrpc":"2.0","id":1,"result":1,"error":{}}\n'],
    ["an error without a code", '{"jsonrpc":"2.0","id":1,"error":"no"}\n'],
    ["an id that is an object", '{"jsonrpc":"2.0","id":{},"method":"x"}\n'],
    ["broken JSON", "{]\n"],
    ["a thousand and one lines of noise", "hello\n".repeat(1001)],
  ])("ends with the evidence on %s", async (_name, line) => {
    const { peer, incoming } = half();
    const asked = peer.request("one", {});
    incoming.push(text(line));
    await expect(asked).rejects.toMatchObject({ reason: "protocol" });
    expect((await peer.closed).evidence).not.toBe("");
  });

  test("passes on what a handler of ours throws, and answers the other side", async () => {
    const bug = new Error("a bug");
    const { peer, incoming, written } = half({
      requests: new Map([
        [
          "x",
          async () => {
            throw bug;
          },
        ],
      ]),
    });
    incoming.push(text('{"jsonrpc":"2.0","id":"a","method":"x"}\n'));
    expect(await peer.closed).toMatchObject({ reason: "handler", cause: bug });
    expect(JSON.parse(written[0] ?? "")).toMatchObject({
      id: "a",
      error: { code: -32603, message: "Internal error" },
    });
  });

  test("refuses a second request under an id that is still open", async () => {
    let finish!: (value: number) => void;
    const { incoming, written } = half({
      requests: new Map([["x", () => new Promise((resolve) => (finish = resolve))]]),
    });
    incoming.push(text('{"jsonrpc":"2.0","id":7,"method":"x"}\n{"jsonrpc":"2.0","id":7,"method":"x"}\n'));
    await turnOfTheLoop();
    finish(1);
    await turnOfTheLoop();
    expect(written.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { id: 7, error: { code: -32600 } },
      { id: 7, result: 1 },
    ]);
  });

  test("stops reading while the other side does not take its answers", async () => {
    let read = 0;
    let open!: () => void;
    const opened = new Promise<void>((resolve) => (open = resolve));
    async function* flood(): AsyncGenerator<Uint8Array> {
      for (; read < 5000; read++) yield text(`{"jsonrpc":"2.0","id":${read},"method":"nothing"}\n`);
    }
    const peer = new RpcPeer({ write: () => opened, incoming: flood() }, nothing);
    await turnOfTheLoop();
    await turnOfTheLoop();
    expect(read).toBeGreaterThan(900);
    expect(read).toBeLessThan(1100);
    open();
    expect((await peer.closed).reason).toBe("ended");
    expect(read).toBe(5000);
  });

  test("closes when its writes fail", async () => {
    const peer = new RpcPeer(
      { write: () => Promise.reject(new Error("EPIPE")), incoming: new BytePipe() },
      nothing,
    );
    await expect(peer.request("x", {})).rejects.toMatchObject({ reason: "write_failed" });
  });
});
