// Grafana's options of fields: what it assumes where ours say nothing, overrides, transformations.
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  dataLinksOverrideProcessor,
  FieldConfigOptionsRegistry,
  identityOverrideProcessor,
  numberOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  transformDataFrame,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';

// What Grafana assumes, of what our dashboards leave to it.
const OPTIONS = { stat: { percentChangeColorMode: 'standard' }, table: { frameIndex: 0 } };
const CUSTOM = {
  timeseries: {
    barWidthFactor: 0.6,
    insertNulls: false,
    axisLabel: '',
    axisColorMode: 'text',
    axisBorderShow: false,
    axisCenteredZero: false,
  },
};

/** The panel, with what Grafana assumes. */
export function withDefaults(original) {
  const panel = structuredClone(original);
  const defaults = panel.fieldConfig?.defaults ?? {};
  const overrides = panel.fieldConfig?.overrides ?? [];
  const properties = overrides.flatMap((override) => override.properties);
  const thresholds = properties.filter(({ id }) => id === 'thresholds').map(({ value }) => value);
  for (const { steps } of [defaults.thresholds ?? {}, ...thresholds]) {
    if (steps?.length) steps[0].value = -Infinity; // which JSON can only write as null
  }
  defaults.custom = { ...CUSTOM[panel.type], ...defaults.custom };
  const options = { ...OPTIONS[panel.type], ...panel.options };
  return { ...panel, options, fieldConfig: { defaults, overrides } };
}

const STANDARD = {
  color: identityOverrideProcessor,
  decimals: numberOverrideProcessor,
  links: dataLinksOverrideProcessor,
  mappings: valueMappingsOverrideProcessor,
  min: numberOverrideProcessor,
  noValue: stringOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
  unit: unitOverrideProcessor,
};

/** Grafana applies what a type of panel registers: here, all that the panel uses. */
function registryFor({ defaults, overrides }) {
  const overridden = overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  const custom = new Set([
    ...Object.keys(defaults.custom),
    ...overridden.filter((id) => id.startsWith('custom.')).map((id) => id.slice(7)),
  ]);
  const item = (id, path, process, isCustom) => ({
    ...{ id, path, process, isCustom, name: id, settings: {} },
    shouldApply: () => true,
    editor: () => null,
    override: () => null,
  });
  return new FieldConfigOptionsRegistry(() => [
    ...Object.entries(STANDARD).map(([id, process]) => item(id, id, process, false)),
    ...[...custom].map((path) => item(`custom.${path}`, path, identityOverrideProcessor, true)),
  ]);
}

// Some are there under two names.
const transformers = new Map(Object.values(standardTransformers).map((each) => [each.id, each]));

standardTransformersRegistry.setInit(() =>
  [...transformers.values()].map((transformer) => ({
    ...{ id: transformer.id, name: transformer.name, editor: () => null },
    transformation: async () => transformer,
  })),
);

const lastOf = (observable) =>
  new Promise((resolve, reject) => {
    let last;
    const next = (value) => (last = value);
    observable.subscribe({ next, error: reject, complete: () => resolve(last) });
  });

/** Transformations, then overrides: what Grafana's panels are given. */
export async function prepareFrames(frames, panel, { theme, timeZone, replaceVariables }) {
  const transformations = panel.transformations ?? [];
  const context = { interpolate: (text) => replaceVariables(text) };
  const { fieldConfig } = panel;
  const data = applyFieldOverrides({
    data: await lastOf(transformDataFrame(transformations, frames, context)),
    ...{ fieldConfig, replaceVariables, theme, timeZone },
    fieldConfigRegistry: registryFor(fieldConfig),
  });
  cacheFieldDisplayNames(data);
  return data;
}
