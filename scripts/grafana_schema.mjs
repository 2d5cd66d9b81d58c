// Run by grafana_schema.sh, with the folder that npm has installed into, and the file to write.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, target] = process.argv.slice(2);
const load = createRequire(join(folder, "package.json"));
const { createGenerator } = load("ts-json-schema-generator");
const raw = "node_modules/@grafana/schema/dist/types/raw";

// By the type that a dashboard names: where the types of its options are.
const PANELS = {
  bargauge: "bargauge",
  gauge: "gauge",
  heatmap: "heatmap",
  piechart: "piechart",
  stat: "stat",
  "state-timeline": "statetimeline",
  table: "table",
  text: "text",
  timeseries: "timeseries",
};

/** Every type that is wanted: the name that it gets here, its module, and its name there. */
function* wanted() {
  yield ["Dashboard", `${raw}/dashboard/x/types.gen`, "Dashboard"];
  for (const [panel, name] of Object.entries(PANELS)) {
    const module = `${raw}/composable/${name}/panelcfg/x/types.gen`;
    const text = readFileSync(join(folder, `${module}.d.ts`), "utf8");
    for (const type of ["Options", "FieldConfig"]) {
      // Not every panel has options of its own for fields.
      if (text.includes(`export interface ${type} `)) yield [`${panel}.${type}`, module, type];
    }
  }
}

const types = [...wanted()];
const entry = join(folder, "entry.ts");
const lines = types.map(([, module, type], n) => `import { ${type} as T${n} } from "./${module}";`);
lines.push(...types.map((_, n) => `export type Wanted${n} = T${n};`));
writeFileSync(entry, lines.join("\n"));
const tsconfig = join(folder, "tsconfig.json");
const compilerOptions = { strict: true, skipLibCheck: true, moduleResolution: "node10", types: [] };
writeFileSync(tsconfig, JSON.stringify({ compilerOptions, files: ["entry.ts"] }));

// Without the descriptions: they are Grafana's texts, and say nothing to a validator.
const generator = createGenerator({
  path: entry,
  tsconfig,
  jsDoc: "none",
  skipTypeCheck: true,
  topRef: false,
});

const inOrder = (value) =>
  Array.isArray(value)
    ? value.map(inOrder)
    : value && typeof value === "object"
      ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, inOrder(value[key])]))
      : value;

// All in one: each panel has an Options of its own, and all other names mean the same everywhere.
const definitions = {};
for (const [n, [name, , type]] of types.entries()) {
  for (const [key, value] of Object.entries(generator.createSchema(`Wanted${n}`).definitions)) {
    const known = key === type ? name : key;
    const text = JSON.stringify(inOrder(value));
    if (definitions[known] && definitions[known] !== text) {
      throw new Error(`${known} has two meanings, one of them in ${name}`);
    }
    definitions[known] = text;
  }
}

// One definition on each line, so that what a release of Grafana changes can be read.
const names = Object.keys(definitions).sort();
const body = names.map((name) => `  ${JSON.stringify(name)}: ${definitions[name]}`).join(",\n");
const { version } = load("@grafana/schema/package.json");
const comment = `@grafana/schema ${version}, by scripts/grafana_schema.sh`;
writeFileSync(target, `{\n "$comment": "${comment}",\n "definitions": {\n${body}\n }\n}\n`);
