//! Decisions of retention, as documents and tables: which points stay, why, and until when.

use cairn::jobs::prune::MachinePlan;
use cairn::policy::{Decision, Reason, Until};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::render::{Align, Table, local_minute};

/// The decision about a point.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionDocument {
    /// `None`, as are the next three, for a point that is only imagined.
    id: Option<String>,
    name: Option<String>,
    machine: Option<String>,
    policy: Option<String>,
    time: Timestamp,
    /// Whether the point stays.
    pub(crate) kept: bool,
    reasons: Vec<ReasonDocument>,
    #[serde(flatten)]
    until: UntilDocument,
}

/// A reason to keep a point.
#[derive(Debug, Serialize)]
struct ReasonDocument {
    why: String,
    #[serde(flatten)]
    until: UntilDocument,
}

/// How long: a moment, a number of newer points, or, with neither, until somebody changes something.
#[derive(Debug, Default, Serialize)]
struct UntilDocument {
    until: Option<Timestamp>,
    until_newer_points: Option<u16>,
}

impl DecisionDocument {
    /// Of a point that is only imagined.
    pub(crate) fn new(decision: &Decision) -> Self {
        Self {
            id: None,
            name: None,
            machine: None,
            policy: None,
            time: decision.time,
            kept: decision.is_kept(),
            reasons: decision.reasons.iter().map(ReasonDocument::new).collect(),
            until: decision.until().map(UntilDocument::new).unwrap_or_default(),
        }
    }

    /// Of the points of a machine.
    pub(crate) fn of_machine(plan: &MachinePlan) -> impl Iterator<Item = Self> {
        plan.decisions.iter().map(|decision| Self {
            id: Some(decision.point.to_string()),
            name: Some(format!("{}@{}", plan.machine, decision.time)),
            machine: Some(plan.machine.to_string()),
            policy: Some(plan.policy.to_string()),
            ..Self::new(decision)
        })
    }

    fn reasons(&self) -> String {
        if !self.kept {
            return "nothing keeps it".to_owned();
        }
        self.reasons.iter().map(|reason| reason.why.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn until(&self, zone: &TimeZone) -> String {
        match (&self.until, self.kept) {
            (_, false) => "now".to_owned(),
            (UntilDocument { until: Some(time), .. }, _) => local_minute(*time, zone),
            (UntilDocument { until_newer_points: Some(1), .. }, _) => "the next point".to_owned(),
            (UntilDocument { until_newer_points: Some(points), .. }, _) => format!("{points} newer points"),
            _ => "changed by a person".to_owned(),
        }
    }
}

impl ReasonDocument {
    fn new(reason: &Reason) -> Self {
        Self { why: reason.why.to_string(), until: UntilDocument::new(reason.until) }
    }
}

impl UntilDocument {
    fn new(until: Until) -> Self {
        match until {
            Until::Changed => Self::default(),
            Until::Time(time) => Self { until: Some(time), until_newer_points: None },
            Until::NewerPoints(points) => Self { until: None, until_newer_points: Some(points) },
        }
    }
}

/// The decisions, one a line.
pub(crate) fn table(documents: &[DecisionDocument], zone: &TimeZone, width: Option<u16>) -> String {
    let mut table = Table::new(&[("POINT", Align::Left), ("TIME", Align::Left), ("UNTIL", Align::Left), ("WHY", Align::Wrap)]);
    for document in documents {
        let name = document.name.clone().unwrap_or_else(|| "-".to_owned());
        table.row([name, local_minute(document.time, zone), document.until(zone), document.reasons()]);
    }
    table.render(width)
}
