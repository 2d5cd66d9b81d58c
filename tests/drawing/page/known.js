// The features that this page draws. Any other is an error, because nothing would test it.
export const PANELS = ['heatmap', 'row', 'stat', 'state-timeline', 'table', 'text', 'timeseries'];

const VARIABLES = ['datasource', 'query'];
const TRANSFORMATIONS = ['merge', 'organize'];
const FIELD = ['color', 'decimals', 'links', 'mappings', 'min', 'noValue', 'thresholds', 'unit'];
const KEYS = {
  panel: [
    ...['collapsed', 'datasource', 'description', 'fieldConfig', 'gridPos', 'id', 'links'],
    ...['maxDataPoints', 'options', 'panels', 'targets', 'title', 'transformations', 'transparent', 'type'],
  ],
  query: [
    ...['datasource', 'expr', 'format', 'hide', 'instant', 'legendFormat', 'range', 'refId'],
  ],
  variable: [
    ...['allValue', 'datasource', 'definition', 'hide', 'includeAll', 'label', 'multi', 'name'],
    ...['options', 'query', 'refresh', 'sort', 'type'],
  ],
};

const unknownOf = (known, names, kind) =>
  names.filter((name) => !known.includes(name)).map((name) => `${kind} ${name}`);

const requireNone = (unknown) => {
  if (unknown.length) throw new Error(`not drawn here: ${unknown.join(', ')}`);
};

/** Throw an error that names the features of a panel that this page does not draw. */
export function checkPanel(panel) {
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  const overridden = overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  const queries = panel.targets ?? [];
  requireNone([
    ...unknownOf(PANELS, [panel.type], 'panel type'),
    ...unknownOf(KEYS.panel, Object.keys(panel), 'option'),
    ...unknownOf(
      TRANSFORMATIONS,
      (panel.transformations ?? []).map(({ id }) => id),
      'transformation',
    ),
    ...unknownOf([...FIELD, 'custom'], Object.keys(defaults), 'field option'),
    ...unknownOf(
      FIELD,
      overridden.filter((id) => !id.startsWith('custom.')),
      'override',
    ),
    ...queries.flatMap((query) => unknownOf(KEYS.query, Object.keys(query), 'query option')),
  ]);
}

export function checkVariable(variable) {
  requireNone([
    ...unknownOf(VARIABLES, [variable.type], 'variable type'),
    ...unknownOf(KEYS.variable, Object.keys(variable), 'option of a variable'),
  ]);
}
