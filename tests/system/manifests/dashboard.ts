// What a file of ops/grafana/dashboards may have: Grafana's own types, and what its Prometheus data source adds.
import type { AnnotationQuery, Dashboard, DashboardLink, DataSourceRef, FieldConfig, FieldConfigSource, Panel, RowPanel } from "@grafana/schema";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as BarGauge } from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type { Options as TimeSeries, FieldConfig as TimeSeriesField } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
import type { Options as StateTimeline, FieldConfig as StateTimelineField } from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";

interface Query {
  refId: string;
  datasource?: DataSourceRef;
  expr: string;
  editorMode?: "builder" | "code";
  legendFormat?: string;
  instant?: boolean;
  range?: boolean;
  interval?: string;
}

interface Releases extends Omit<AnnotationQuery, "target"> {
  target: Query;
  titleFormat?: string;
  textFormat?: string;
  tagKeys?: string;
}

interface Shown<Type extends string, Options, Field> extends Omit<Panel, "type" | "options" | "fieldConfig" | "links" | "targets"> {
  type: Type;
  options: Partial<Options>;
  fieldConfig: Omit<FieldConfigSource, "defaults"> & { defaults: Omit<FieldConfig, "custom"> & { custom?: Partial<Field> } };
  links?: Partial<DashboardLink>[];
  targets: Query[];
}

type Ours =
  | Shown<"stat", Stat, Record<string, never>>
  | Shown<"bargauge", BarGauge, Record<string, never>>
  | Shown<"timeseries", TimeSeries, TimeSeriesField>
  | Shown<"state-timeline", StateTimeline, StateTimelineField>;

export interface HoldfastDashboard extends Omit<Dashboard, "panels" | "annotations"> {
  panels: (Ours | RowPanel)[];
  annotations: { list: Releases[] };
}
