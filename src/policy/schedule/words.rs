//! Schedules in plain words.

use super::fields::WEEKDAYS;
use super::text::{is_every_day, time_list};
use super::{Rule, Schedule, Weekdays, Zone};

impl Schedule {
    /// The schedule as a person would say it: "every day at 20:30, Europe/Berlin time".
    pub fn describe(&self) -> String {
        let rule = match &self.rule {
            Rule::Daily(times) => format!("every day at {}", time_list(times, " and ")),
            Rule::Hours { every, from, to } => {
                let hours = if *every == 1 { "every hour".to_owned() } else { format!("every {every} hours") };
                to.map_or_else(|| format!("{hours} of the day, counted from {from}"), |to| format!("{hours} from {from} to {to}"))
            }
            Rule::Weekly(days, times) if is_every_day(*days) => format!("every day at {}", time_list(times, " and ")),
            Rule::Weekly(days, times) => format!("every {} at {}", days.names(), time_list(times, " and ")),
            Rule::Calendar(calendar) => format!("whenever it is {calendar}"),
        };
        match &self.zone {
            Zone::Local => format!("{rule}, local time"),
            Zone::Named(name, _) => format!("{rule}, {name} time"),
        }
    }
}

impl Weekdays {
    /// Full names: "Monday and Thursday".
    pub fn names(self) -> String {
        let names: Vec<&str> = self.0.iter().filter_map(|day| WEEKDAYS.get(usize::from(day)).copied()).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => String::new(),
        }
    }
}
