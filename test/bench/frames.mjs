// One message of nearly the largest size, in the chunks a pipe gives, against one concatenation and one parse.
import { interleave, result, timed } from "./measure.mjs";

const CHUNK_BYTES = 64 * 1024;

export const names = ["rpc/8m"];

export async function* run(_wanted, { measured, quick }) {
  const text = 'a line of "output" that a program wrote, with an é in it\n';
  const room = measured.FRAME_LIMITS.lineBytesMax - 4096;
  const update = { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "" } };
  // Quotes and newlines grow when they are written as JSON.
  update.content.text = text.repeat(Math.floor(room / (JSON.stringify(text).length - 1)));
  const bytes = measured.encodeFrame({ jsonrpc: "2.0", method: "session/update", params: { update } });
  const chunks = [];
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) chunks.push(bytes.subarray(at, at + CHUNK_BYTES));
  const check = (value) => {
    if (value?.method !== "session/update") throw new Error("the message was not read");
  };
  const times = await interleave(
    quick ? 10 : 40,
    {
      ours: () =>
        timed(() => {
          const reader = new measured.FrameReader();
          let last;
          for (const chunk of chunks) for (const frame of reader.read(chunk)) last = frame;
          check(last?.value);
        }),
      plain: () => timed(() => check(JSON.parse(Buffer.concat(chunks).toString("utf8")))),
    },
    { warmups: 3 },
  );
  const size = `${(bytes.length / 1024 / 1024).toFixed(1)} MiB`;
  yield result("rpc/8m", times.ours, times.plain, { note: `one message of ${size}` });
}
