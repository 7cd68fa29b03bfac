//! What can happen to a spool, and how often it does.

use proptest::prelude::*;

pub(super) const PAYLOAD_MAX: usize = 700;
const OPERATIONS_MAX: usize = 120;

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Intent {
        bytes: usize,
    },
    Checkpoint {
        which: usize,
        bytes: usize,
    },
    Settle {
        which: usize,
        bytes: usize,
    },
    Turn {
        which: usize,
        bytes: usize,
    },
    Unrecorded {
        bytes: usize,
    },
    Abandon {
        which: usize,
    },
    Sync,
    FailSyncs {
        count: u32,
    },
    Ship {
        records_max: usize,
        bytes_max: usize,
    },
    Acknowledge {
        count: usize,
    },
    Release {
        count: usize,
    },
    Kill {
        noise: Vec<u8>,
    },
    PowerCut {
        survives: Vec<u8>,
        loses_cursor: bool,
    },
    FlipBit {
        which: usize,
        bit: usize,
    },
    Restart,
}

pub(super) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let bytes = || 0..=PAYLOAD_MAX;
    let some = || 0..1000_usize;
    let noise = || prop::collection::vec(any::<u8>(), 1..64);
    let operation = prop_oneof![
        30 => bytes().prop_map(|bytes| Operation::Intent { bytes }),
        8 => (some(), bytes()).prop_map(|(which, bytes)| Operation::Checkpoint { which, bytes }),
        22 => (some(), bytes()).prop_map(|(which, bytes)| Operation::Settle { which, bytes }),
        6 => (some(), bytes()).prop_map(|(which, bytes)| Operation::Turn { which, bytes }),
        4 => bytes().prop_map(|bytes| Operation::Unrecorded { bytes }),
        1 => some().prop_map(|which| Operation::Abandon { which }),
        4 => Just(Operation::Sync),
        1 => (1..4_u32).prop_map(|count| Operation::FailSyncs { count }),
        8 => (1..40_usize, 1..9000_usize)
            .prop_map(|(records_max, bytes_max)| Operation::Ship { records_max, bytes_max }),
        6 => (1..40_usize).prop_map(|count| Operation::Acknowledge { count }),
        2 => (1..10_usize).prop_map(|count| Operation::Release { count }),
        2 => noise().prop_map(|noise| Operation::Kill { noise }),
        2 => (noise(), any::<bool>())
            .prop_map(|(survives, loses_cursor)| Operation::PowerCut { survives, loses_cursor }),
        2 => (some(), some()).prop_map(|(which, bit)| Operation::FlipBit { which, bit }),
        1 => Just(Operation::Restart),
    ];
    prop::collection::vec(operation, 1..OPERATIONS_MAX)
}
