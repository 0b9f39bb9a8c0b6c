//! Raid4, raid5 and raid6.

use super::Level;
use super::geometry::{Place, Plan, Refusal, check_chunk, rounded};

/// How data and parity take turns.
#[derive(Debug)]
pub(super) struct Parity {
    pub(super) chunk_bytes: u64,
    devices: usize,
    order: Order,
    /// Whether there is a second parity, and whether it stays on the last member while the rest is laid out as raid5.
    second: Second,
    /// How far the rotation is ahead in the first stripe.
    ahead: u64,
    /// Whether the second parity takes its powers from the roles themselves, as the layouts of DDF have it.
    powers_by_role: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    None,
    /// On the member after the parity.
    Beside,
    /// On the member before the parity.
    Before,
    Last,
}

/// Where the parity of a stripe is, and in which order data follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    LeftAsymmetric,
    RightAsymmetric,
    LeftSymmetric,
    RightSymmetric,
    ParityFirst,
    ParityLast,
}

/// The members of one stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stripe {
    devices: usize,
    /// Role of the member with the parity.
    pub(super) p: usize,
    /// Role of the member with the second parity.
    pub(super) q: Option<usize>,
    powers_by_role: bool,
}

impl Stripe {
    /// Roles with data, each with its power in the second parity: from the member after it, around, or as DDF counts.
    pub(super) fn data(self) -> impl Iterator<Item = (usize, usize)> {
        let first = if self.powers_by_role { 0 } else { self.q.map_or(0, |q| q + 1) };
        let around = (0..self.devices).map(move |step| (first + step) % self.devices);
        let data = around.filter(move |&role| role != self.p && Some(role) != self.q);
        data.enumerate().map(move |(place, role)| (if self.powers_by_role { role } else { place }, role))
    }

    /// How many roles the stripe has.
    pub(super) fn devices(self) -> usize {
        self.devices
    }
}

impl Parity {
    pub(super) fn laid_out(plan: &Plan<'_>) -> Result<(Option<u64>, Self), Refusal> {
        check_chunk(plan.chunk_bytes)?;
        let (least, second) = match (plan.level, plan.layout) {
            (Level::Raid6, 16..=20) => (4, Second::Last),
            (Level::Raid6, 10) => (4, Second::Before),
            (Level::Raid6, _) => (4, Second::Beside),
            _ => (2, Second::None),
        };
        if plan.devices < least {
            return Err(Refusal::Damaged(format!("it has {} devices", plan.devices)));
        }
        let order = match (plan.level, plan.layout) {
            (Level::Raid4, _) | (_, 5) => Order::ParityLast,
            (_, 0) | (Level::Raid6, 9 | 16) => Order::LeftAsymmetric,
            (_, 1) | (Level::Raid6, 8 | 17) => Order::RightAsymmetric,
            (_, 2) | (Level::Raid6, 10 | 18) => Order::LeftSymmetric,
            (_, 3) | (Level::Raid6, 19) => Order::RightSymmetric,
            (_, 4) | (Level::Raid6, 20) => Order::ParityFirst,
            (level, layout) => return Err(Refusal::Unsupported(format!("layout {layout} of {}", level.name()))),
        };
        let (ahead, powers_by_role) = (u64::from(plan.layout == 9), matches!(plan.layout, 8..=10));
        let parity = Self { chunk_bytes: plan.chunk_bytes, devices: plan.devices, order, second, ahead, powers_by_role };
        Ok((rounded(plan.used_bytes, plan.chunk_bytes).checked_mul(parity.data_devices()), parity))
    }

    pub(super) fn parities(&self) -> usize {
        if self.second == Second::None { 1 } else { 2 }
    }

    pub(super) fn data_devices(&self) -> u64 {
        (self.devices - self.parities()) as u64
    }

    /// How many members take part in the rotation.
    fn rotating(&self) -> usize {
        if self.second == Second::Last { self.devices - 1 } else { self.devices }
    }

    pub(super) fn stripe(&self, number: u64) -> Stripe {
        let rotating = self.rotating();
        let turn = ((number + self.ahead) % rotating as u64) as usize;
        let p = match self.order {
            Order::LeftAsymmetric | Order::LeftSymmetric => rotating - 1 - turn,
            Order::RightAsymmetric | Order::RightSymmetric => turn,
            Order::ParityFirst => 0,
            Order::ParityLast => self.devices - self.parities(),
        };
        let q = match self.second {
            Second::None => None,
            Second::Beside => Some((p + 1) % self.devices),
            Second::Before => Some((p + self.devices - 1) % self.devices),
            Second::Last => Some(self.devices - 1),
        };
        Stripe { devices: self.devices, p, q, powers_by_role: self.powers_by_role }
    }

    pub(super) fn place(&self, at: u64) -> Place {
        let (chunk, in_chunk) = (at / self.chunk_bytes, at % self.chunk_bytes);
        let (number, index) = (chunk / self.data_devices(), (chunk % self.data_devices()) as usize);
        let stripe = self.stripe(number);
        let role = match self.order {
            Order::LeftSymmetric | Order::RightSymmetric => {
                let last_parity = stripe.q.filter(|_| self.second == Second::Beside).unwrap_or(stripe.p);
                (last_parity + 1 + index) % self.rotating()
            }
            _ => {
                let q = stripe.q.unwrap_or(usize::MAX);
                let past_first = index + usize::from(index >= stripe.p.min(q));
                past_first + usize::from(past_first >= stripe.p.max(q))
            }
        };
        Place { role, offset_bytes: number * self.chunk_bytes + in_chunk, length_bytes: self.chunk_bytes - in_chunk }
    }
}
