// Run by grafana_schema.sh. Arguments: the folder with the packages, and the file to write.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, target] = process.argv.slice(2);
const load = createRequire(join(folder, "package.json"));
const { createGenerator } = load("ts-json-schema-generator");
const raw = "node_modules/@grafana/schema/dist/types/raw";

// The folder of the option types, by the panel type that a dashboard names.
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

/** Every type that the schema needs: its name in the schema, its module, and its name there. */
function* neededTypes() {
  yield ["Dashboard", `${raw}/dashboard/x/types.gen`, "Dashboard"];
  for (const [panel, name] of Object.entries(PANELS)) {
    const module = `${raw}/composable/${name}/panelcfg/x/types.gen`;
    const text = readFileSync(join(folder, `${module}.d.ts`), "utf8");
    for (const type of ["Options", "FieldConfig"]) {
      // Not every panel type has its own field options.
      if (text.includes(`export interface ${type} `)) yield [`${panel}.${type}`, module, type];
    }
  }
}

const types = [...neededTypes()];
const entry = join(folder, "entry.ts");
const lines = types.map(([, module, type], n) => `import { ${type} as T${n} } from "./${module}";`);
lines.push(...types.map((_, n) => `export type Wanted${n} = T${n};`));
writeFileSync(entry, lines.join("\n"));
const tsconfig = join(folder, "tsconfig.json");
const compilerOptions = { strict: true, skipLibCheck: true, moduleResolution: "node10", types: [] };
writeFileSync(tsconfig, JSON.stringify({ compilerOptions, files: ["entry.ts"] }));

// Without the descriptions, which a validator does not need.
const generator = createGenerator({
  path: entry,
  tsconfig,
  jsDoc: "none",
  skipTypeCheck: true,
  topRef: false,
});

const sortKeys = (value) =>
  Array.isArray(value)
    ? value.map(sortKeys)
    : value && typeof value === "object"
      ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sortKeys(value[key])]))
      : value;

// One schema for all: each panel type has its own Options; all other names have one meaning.
const definitions = {};
for (const [n, [name, , type]] of types.entries()) {
  for (const [key, value] of Object.entries(generator.createSchema(`Wanted${n}`).definitions)) {
    const definition = key === type ? name : key;
    const text = JSON.stringify(sortKeys(value));
    if (definitions[definition] && definitions[definition] !== text) {
      throw new Error(`${definition} has two meanings, one of them in ${name}`);
    }
    definitions[definition] = text;
  }
}

// One definition per line, so that a diff shows what a release of Grafana changes.
const names = Object.keys(definitions).sort();
const body = names.map((name) => `  ${JSON.stringify(name)}: ${definitions[name]}`).join(",\n");
const { version } = load("@grafana/schema/package.json");
const comment = `@grafana/schema ${version}, by scripts/grafana_schema.sh`;
writeFileSync(target, `{\n "$comment": "${comment}",\n "definitions": {\n${body}\n }\n}\n`);
