// Bundle page/ with the packages in PACKAGES into OUT.    node build.mjs PACKAGES OUT
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [packages, out] = process.argv.slice(2);
const { build } = createRequire(join(packages, 'package.json'))('esbuild');

await build({
  entryPoints: [join(dirname(fileURLToPath(import.meta.url)), 'page', 'app.jsx')],
  nodePaths: [join(packages, 'node_modules')],
  outdir: out,
  bundle: true,
  // Modules that our panels never load, such as maps and editors, stay in separate files.
  splitting: true,
  format: 'esm',
  jsx: 'automatic',
  loader: { '.ttf': 'empty' },
  define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'globalThis' },
  logLevel: 'warning',
});
