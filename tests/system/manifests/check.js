// Reads [[package, kind, group, object], …] and writes, for each object, what its custom resource definition says against it.
import { readFileSync, readdirSync } from "node:fs";

const checked = [];
for (const [name, schema, object] of JSON.parse(readFileSync(0, "utf8"))) {
  const folder = new URL(`node_modules/@kubernetes-models/${name}/_schemas/`, import.meta.url);
  const file = readdirSync(folder).find((each) => each.endsWith(`${schema}.js`));
  const { validate } = await import(new URL(file, folder));
  checked.push(validate(object) ? [] : validate.errors.map((each) => `${each.instancePath} ${each.keyword} ${JSON.stringify(each.params)}`));
}
process.stdout.write(JSON.stringify(checked));
