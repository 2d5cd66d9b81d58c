// Grafana's field options: its defaults, overrides, and transformations.
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

// Grafana's defaults for the options that our dashboards do not set.
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

/** Return the panel with Grafana's defaults. */
export function withDefaults(original) {
  const panel = structuredClone(original);
  const defaults = panel.fieldConfig?.defaults ?? {};
  const overrides = panel.fieldConfig?.overrides ?? [];
  const properties = overrides.flatMap((override) => override.properties);
  const thresholds = properties.filter(({ id }) => id === 'thresholds').map(({ value }) => value);
  for (const { steps } of [defaults.thresholds ?? {}, ...thresholds]) {
    if (steps?.length) steps[0].value = -Infinity; // JSON has null instead
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

/** Return a registry of all field options that the panel uses: Grafana applies only these. */
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

// Some transformers are exported under two names.
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

/** Apply transformations, then overrides, and return the frames that Grafana's panels get. */
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
