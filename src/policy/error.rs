//! What is wrong with a policy, in words that say how to write it instead.

/// Why a text is no schedule or no retention, or why two of them do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No zone of that name.
    #[error(
        "no time zone is called {name:?}; write one as Europe/Berlin or UTC, or none for the time of the computer that runs the backup"
    )]
    UnknownZone {
        /// What was given.
        name: String,
    },
    /// A schedule that cannot be understood.
    #[error(
        "{text:?} is no schedule: {why}; write 'daily 20:30', 'every 4h from 08:00 to 20:00', 'weekly mon,thu 20:30' or \
         'calendar Mon..Fri *-*-* 20:30', and behind it 'in Europe/Berlin' for a zone"
    )]
    Schedule {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A calendar expression that fits no day.
    #[error("{text:?} names no day that there is between 1970 and 2199, so nothing would ever run; check day, month and weekday")]
    NeverRuns {
        /// What was given.
        text: String,
    },
    /// Retention that cannot be understood, or that contradicts itself.
    #[error(
        "{text:?} is no retention: {why}; write 'for 180 days', or rules such as 'last 3 + daily 7 + weekly 4 on sun + monthly 12 on \
         first sun + yearly 7 on last day of dec'"
    )]
    Retention {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A rule that selects only days on which nothing runs.
    #[error(
        "'{rule}' selects days on which '{schedule}' never runs, so there would be no point for it to keep; select other days, or change \
         the schedule"
    )]
    NeverMeets {
        /// The rule.
        rule: String,
        /// The schedule.
        schedule: String,
    },
    /// Nothing to follow.
    #[error("the policy has no schedule, so nothing runs by itself; give it one, or name one with --schedule")]
    NoSchedule,
    /// More runs than anybody looks at.
    #[error("'{schedule}' runs more than {limit} times in that time; ask for fewer years")]
    TooManyRuns {
        /// The schedule.
        schedule: String,
        /// Most runs that are followed.
        limit: usize,
    },
}
