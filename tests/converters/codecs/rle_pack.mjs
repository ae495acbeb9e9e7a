// Packs alpha masks as Label Studio's editor does, with the rle-pack found in the folder of argv[2].
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const require = createRequire(pathToFileURL(process.argv[2] + "/"));
const { encode, decode } = await import(pathToFileURL(require.resolve("@thi.ng/rle-pack")).href);
const hex = (b) => Buffer.from(b).toString("hex");
const out = JSON.parse(readFileSync(0, "utf8")).map(({ alpha, stream }) => {
  if (stream !== undefined) {
    const elements = decode(Uint8Array.from(Buffer.from(stream, "hex")));
    return hex(Uint8Array.from(elements.filter((_, i) => i % 4 === 3)));
  }
  const pixels = Buffer.from(alpha, "hex");
  const rgba = new Uint8Array(pixels.length * 4);
  pixels.forEach((a, i) => rgba.fill(a, 4 * i, 4 * i + 4));
  return hex(encode(rgba, rgba.length));
});
process.stdout.write(JSON.stringify(out));
