// The variables of a dashboard: their values, and how texts are interpolated.
import { checkVariable } from './known.js';
import { labelValues } from './query.js';

const ALL = 'All';

/** Query the values of all variables, in the order of the dashboard. */
export async function resolveVariables(dashboard, { chosen, range, fail }) {
  const variables = new Variables(range);
  const declared = dashboard.templating?.list ?? [];
  for (const name of Object.keys(chosen)) {
    if (!declared.some((each) => each.name === name)) fail(`there is no variable ${name}`);
  }
  for (const declaration of declared) {
    try {
      checkVariable(declaration);
      const options = await optionsOf(declaration, variables);
      variables.add(select(declaration, options, chosen[declaration.name]));
    } catch (error) {
      fail(`variable ${declaration.name}: ${error.message}`);
    }
  }
  return variables;
}

async function optionsOf({ type, query }, variables) {
  if (type === 'datasource') return [query];
  const text = variables.interpolate(query.query, { format: 'promql' });
  const [, selector, label] = /^label_values\((.+),\s*(\w+)\)$/s.exec(text) ?? [];
  if (!label) throw new Error(`not drawn here: ${text}`);
  return (await labelValues(label, selector, variables.range)).sort();
}

/** Select the chosen values, or else All if the variable has it, or else the first value or none. */
function select(declaration, options, chosen = declaration.includeAll ? [ALL] : undefined) {
  const all = Boolean(declaration.includeAll && chosen.includes(ALL));
  const values = all ? options : (chosen ?? [options[0] ?? '']);
  const unknown = values.filter((value) => value && !options.includes(value));
  if (unknown.length) throw new Error(`${unknown.join(', ')} is not among its values`);
  return { ...declaration, all, values };
}

// A value in a regular expression is escaped twice: for the expression, and for its string.
const forString = (value) => value.replace(/[\\"]/g, '\\$&');
const forRegex = (value) => forString(value.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));

const FORMATS = {
  text: ({ all, values }) => (all ? ALL : values.join(' + ')),
  queryparam: ({ name, all, values }) =>
    (all ? ['$__all'] : values).map((v) => `var-${name}=${encodeURIComponent(v)}`).join('&'),
  // Like Grafana's data source for Prometheus.
  promql: ({ all, allValue, multi, includeAll, values }) => {
    if (all && allValue) return allValue;
    if (!multi && !includeAll) return forString(values[0]);
    const escaped = values.map(forRegex);
    return escaped.length === 1 ? escaped[0] : `(${escaped.join('|')})`;
  },
};

class Variables {
  constructor(range) {
    this.range = range;
    this.byName = new Map();
  }

  add(variable) {
    this.byName.set(variable.name, variable);
  }

  /** Return labels and values of the variables that Grafana shows above a dashboard. */
  visible() {
    return [...this.byName.values()]
      .filter(({ hide }) => !hide)
      .map((each) => ({ label: each.label || each.name, text: FORMATS.text(each) }));
  }

  /**
   * Replace `$name`, `${name}` and `${name:format}` by values; leave unknown names as they are.
   *
   * builtIns: values of more names. dataContext: the data that links can refer to.
   */
  interpolate(text, { builtIns = {}, dataContext, format = 'text' } = {}) {
    return text.replace(/\$\{([^:}]+)(?::([^}]+))?\}|\$(\w+)/g, (whole, braced, own, plain) => {
      const name = braced ?? plain;
      if (name in builtIns) return builtIns[name];
      if (name === '__url_time_range') return `from=${this.range.from}&to=${this.range.to}`;
      if (dataContext && name.startsWith('__data.fields.')) {
        // "" where no row has such a column, as in Grafana.
        const value = String(cell(name.slice('__data.fields.'.length), dataContext) ?? '');
        return own === 'percentencode' ? encodeURIComponent(value) : value;
      }
      const known = this.byName.get(name);
      return known ? (FORMATS[own ?? format] ?? FORMATS.text)(known) : whole;
    });
  }
}

/** Return the value of a row in the column with this displayed name. */
const cell = (column, { frame, rowIndex }) =>
  frame.fields.find(({ name, state }) => column === (state?.displayName ?? name))?.values[rowIndex];
