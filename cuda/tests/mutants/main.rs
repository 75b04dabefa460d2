//! Mistakes in the shipped kernels are found: by a check of the simulated device, or by a number outside of tolerance.
//!
//! One that is made wherever its kind of instruction stands must be found in every kernel; swapped operands, which in a
//! correction or before a square change nothing that is seen, in one place of each family. Of those in one place some
//! change nothing: a reference need not be the largest entry, a correction may be below the tolerance, a barrier may stand
//! between two reductions that use other memory, a branch may be for numbers that are not there. More must be found than
//! not, and of each kind one in each family.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod text;
mod uses;

use densekd_core::{Divergence, Loss, Order};
use densekd_cuda::Device;
use densekd_device::Device as Simulated;
use std::collections::BTreeMap;
use text::{Mistake, Text};
use uses::{Numbers, Use};

const ROWS: &str = include_str!("../../ptx/rows.ptx");
const COLUMNS: &str = include_str!("../../ptx/columns.ptx");
const TERMS: &str = include_str!("../../ptx/terms.ptx");
const WHOLE: &str = include_str!("../../ptx/whole.ptx");
const VECTORS: &str = include_str!("../../ptx/vectors.ptx");
const ENERGY: &str = include_str!("../../ptx/energy.ptx");
const CLASSES: &str = include_str!("../../ptx/classes.ptx");

/// Places of each kind that are tried in a kernel, spread over it.
const TRIED: usize = 3;
/// Of swapped operands more, as few of them are seen.
const SWAPPED: usize = 6;

/// What changes nothing, and why.
const EQUAL: [(&str, Mistake, &str); 1] = [
    // The number that a vector's moments are taken about: any near it will do.
    ("densekd_lines_moments_f32", Mistake::Index, "ld.global.f32"),
];

/// A module.
struct Family {
    name: &'static str,
    text: &'static str,
    /// What reaches all of its kernels for `f32`.
    uses: Vec<Use>,
    /// More than the blocks of a small device do at once, for mistakes that only then show.
    large: Vec<Use>,
}

fn families() -> Vec<Family> {
    let (nchw, nhwc) = (Order::Nchw, Order::Nhwc);
    let rows = |order, dims: &[[usize; 4]], divergence| -> Vec<Use> {
        dims.iter().map(|&dims| Use::Rows(order, dims, divergence)).collect()
    };
    let map = |loss, dims: [usize; 4]| vec![Use::Map(loss, nchw, dims), Use::Map(loss, nhwc, dims)];
    let lengths = [[1, 40, 5, 9], [1, 10, 9, 23], [2, 1, 61, 41], [1, 1, 95, 97]];
    let columns = [[2, 300, 5, 9], [1, 30, 20, 15]];
    let (parts, pairs) = ([1, 4200, 3, 43], [1, 140_000, 1, 2]);
    let (kl, js, reverse) = (Divergence::Kl, Divergence::Js, Divergence::ReverseKl);
    let family = |name, text, uses, large| Family { name, text, uses, large };
    vec![
        family("rows", ROWS, rows(nchw, &lengths, kl), vec![]),
        family("columns", COLUMNS, rows(nhwc, &columns, kl), rows(nhwc, &[parts], kl)),
        family(
            "terms",
            TERMS,
            [rows(nchw, &lengths, js), rows(nhwc, &columns, js)].concat(),
            rows(nhwc, &[parts], reverse),
        ),
        family("whole", WHOLE, rows(nchw, &lengths, kl), rows(nhwc, &[parts, pairs], kl)),
        family(
            "vectors",
            VECTORS,
            map(Loss::Pkd, [3, 5, 37, 41]),
            vec![Use::Map(Loss::Pkd, nchw, [2, 300, 1, 7]), Use::Map(Loss::Pkd, nhwc, [40, 300, 5, 5])],
        ),
        family("energy", ENERGY, map(Loss::At, [2, 71, 13, 11]), map(Loss::At, [3, 200, 20, 20])),
        family(
            "classes",
            CLASSES,
            [map(Loss::Dkd, [2, 11, 7, 9]), map(Loss::SmoothCe, [2, 11, 7, 9])].concat(),
            [map(Loss::Dkd, [3, 3, 60, 60]), map(Loss::SmoothCe, [3, 3, 60, 60])].concat(),
        ),
    ]
}

/// The numbers of a use, with a module's text replaced.
fn run(simulated: &Simulated, work: Use, original: &str, text: &str) -> Option<Numbers> {
    simulated.reset();
    // Few blocks at once, so that they take turns.
    simulated.set("MULTIPROCESSORS", "1").unwrap();
    simulated.set("STEPS", "1048576").unwrap();
    simulated.replace(original, text).unwrap();
    let numbers = work.run(&Device::open(0).unwrap()).ok()?;
    // What is copied back and nobody has written is found, too.
    (simulated.live().unknown_copied == 0).then_some(numbers)
}

/// Whether numbers differ by more than the kernels' tolerance.
fn differ(found: &Numbers, wanted: &Numbers) -> bool {
    found.iter().zip(wanted).any(|(found, wanted)| {
        let largest = wanted.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        found.iter().zip(wanted).any(|(x, y)| !((x - y).abs() <= 4e-6 * largest))
    })
}

/// Every so many of all, `count` at most.
fn spread<T: Copy>(all: &[T], count: usize) -> Vec<T> {
    let step = all.len().div_ceil(count.max(1)).max(1);
    all.iter().copied().skip(step / 2).step_by(step).collect()
}

/// What became of mistakes.
#[derive(Default)]
struct Found {
    /// How many were found and how many were not, by family.
    single: BTreeMap<(&'static str, Mistake), [usize; 2]>,
    /// Those in all places of a kind that were found, by family.
    everywhere: BTreeMap<(&'static str, Mistake), usize>,
    /// Those that were not: kernel, mistake, kind of places.
    survivors: Vec<(String, Mistake, String)>,
}

/// A kernel under test, and what it gives.
struct Target<'a> {
    simulated: &'a Simulated,
    family: &'static str,
    original: &'a str,
    text: &'a Text,
    kernel: &'a str,
    work: Use,
    wanted: &'a Numbers,
}

impl Target<'_> {
    /// Whether a mistake in these places is found; `None` where nothing comes by any of them.
    fn finds(&self, places: &[usize], mistake: Mistake) -> Option<bool> {
        let run = |mistake| run(self.simulated, self.work, self.original, &self.text.with(places, mistake));
        match run(Some(mistake)) {
            Some(numbers) if !differ(&numbers, self.wanted) => run(None).is_none().then_some(false),
            _ => Some(true),
        }
    }

    fn try_all(&self, found: &mut Found) {
        for mistake in Mistake::ALL {
            let key = (self.family, mistake);
            let count = if mistake == Mistake::Operand { SWAPPED } else { TRIED };
            for at in spread(&self.text.places(self.kernel, mistake), count) {
                if let Some(is_found) = self.finds(&[at], mistake) {
                    found.single.entry(key).or_default()[usize::from(!is_found)] += 1;
                }
            }
            // No branch is ever taken: that is no mistake that anybody makes.
            if mistake == Mistake::Guard {
                continue;
            }
            for (kind, places) in self.text.kinds(self.kernel, mistake) {
                match self.finds(&places, mistake) {
                    Some(true) => *found.everywhere.entry(key).or_default() += 1,
                    Some(false) => found.survivors.push((self.kernel.to_owned(), mistake, kind)),
                    None => {}
                }
            }
        }
    }
}

fn try_family(simulated: &Simulated, family: &Family, found: &mut Found) {
    let &Family { name: family, text: original, ref uses, ref large } = family;
    let text = Text::new(original);
    let mut reached: Vec<String> = Vec::new();
    let mut own = Found::default();
    for &work in uses {
        let wanted = run(simulated, work, "", "").expect("the shipped kernels run");
        let launched: Vec<&str> = text.names().filter(|name| simulated.counters(name).launches > 0).collect();
        let small = text.only(&launched);
        assert_eq!(run(simulated, work, original, &small.whole()), Some(wanted.clone()), "{family}");
        for kernel in launched {
            if !reached.iter().any(|name| name == kernel) {
                reached.push(kernel.to_owned());
                let (text, wanted) = (&small, &wanted);
                Target { simulated, family, original, text, kernel, work, wanted }.try_all(&mut own);
            }
        }
    }
    let is_one_of_these = |name: &str| !name.ends_with("16") && !name.ends_with("f64");
    let missed: Vec<&str> =
        text.names().filter(|&name| is_one_of_these(name) && !reached.iter().any(|r| r == name)).collect();
    assert!(missed.is_empty(), "{family}: nothing reaches {missed:?}");
    for &work in large {
        if own.survivors.is_empty() {
            break;
        }
        let wanted = run(simulated, work, "", "").expect("the shipped kernels run");
        own.survivors.retain(|(kernel, mistake, kind)| {
            let target = Target { simulated, family, original, text: &text, kernel, work, wanted: &wanted };
            target.finds(&text.kinds(kernel, *mistake)[kind], *mistake) != Some(true)
        });
    }
    // Swapped operands of corrections, or of what is squared, are below the tolerance or equal.
    own.survivors.retain(|(kernel, mistake, kind)| {
        *mistake != Mistake::Operand && !EQUAL.contains(&(kernel.as_str(), *mistake, kind.as_str()))
    });
    found.single.append(&mut own.single);
    found.everywhere.append(&mut own.everywhere);
    found.survivors.append(&mut own.survivors);
}

// One test, as there is one device in a process.
#[test]
fn every_mistake_is_found() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    let simulated = Simulated::open().unwrap();
    let mut found = Found::default();
    for family in families() {
        try_family(&simulated, &family, &mut found);
    }
    let Found { single, everywhere, survivors } = found;
    assert!(survivors.is_empty(), "not found: {survivors:#?}");
    println!("in all places of a kind, found: {everywhere:?}");
    println!("in one place, found and not: {single:?}");
    let none: Vec<_> = single.iter().filter(|(_, [found, _])| *found == 0).collect();
    assert!(none.is_empty(), "none of these was found in one place: {none:?}");
    let [all_found, all_missed] = single.values().fold([0; 2], |[a, b], [x, y]| [a + x, b + y]);
    assert!(all_found > all_missed, "{all_found} of {} were found in one place", all_found + all_missed);
}
