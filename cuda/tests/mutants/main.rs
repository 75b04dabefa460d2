//! Mistakes in the shipped kernels are found: by a check of the simulated device, by a number outside of tolerance, or by
//! more bytes read than there must be.
//!
//! One that is made wherever its kind of instruction stands must be found in every kernel, but for what is equal by a
//! reason that is given ([`EQUAL`]). In one place, of which some are tried, many change nothing: a reference need not be the
//! largest entry, a correction or the low half of an `f64` may be below the tolerance, a barrier may stand between two
//! reductions that use other memory, a branch or a bound may be for numbers that are not there. Of those more than a
//! third must be found, in each family.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../driver/mod.rs"]
mod driver;
mod families;
mod labels;
mod mistake;
mod text;
mod uses;

use densekd_cuda::Device;
use densekd_device::Device as Simulated;
use families::Family;
use mistake::Mistake;
use std::collections::BTreeMap;
use text::Text;
use uses::{Numbers, Use};

/// Set where a family is tried.
const OWN: &str = "DENSEKD_MUTANTS";

/// Places of each kind that are tried in a kernel, spread over it.
const TRIED: usize = 2;
/// Of swapped operands more, as few of them are seen.
const SWAPPED: usize = 4;

/// What changes nothing, and why.
const EQUAL: [(&str, Mistake, &str); 1] = [
    // The number that a vector's moments are taken about: any near it will do.
    ("densekd_lines_moments_f32", Mistake::Index, "ld.global.f32"),
];

/// The numbers of a use with a module's text replaced, and the bytes that its kernels read.
fn run(simulated: &Simulated, work: Use, original: &Text, text: Option<&str>) -> Option<Numbers> {
    simulated.reset();
    // Few blocks at once, so that they take turns.
    simulated.set("MULTIPROCESSORS", "1").unwrap();
    simulated.set("STEPS", "1048576").unwrap();
    if let Some(text) = text {
        simulated.replace(original.shipped(), text).unwrap();
    }
    let mut numbers = work.run(&Device::open(0).unwrap()).ok()?;
    #[allow(clippy::cast_precision_loss, reason = "counts of a test")]
    let read = |name| simulated.counters(name).global_read as f64;
    numbers.push(original.names().map(read).collect());
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
    /// What is shipped, and as much of it as is loaded.
    original: &'a Text,
    text: &'a Text,
    kernel: &'a str,
    work: Use,
    wanted: &'a Numbers,
}

impl Target<'_> {
    /// Whether a mistake in these places is found; `None` where nothing comes by any of them.
    fn finds(&self, places: &[usize], mistake: Mistake) -> Option<bool> {
        let run =
            |mistake| run(self.simulated, self.work, self.original, Some(&self.text.with(places, mistake)));
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
            // No branch is ever taken, no bound is right: those are no mistakes that anybody makes.
            if matches!(mistake, Mistake::Guard | Mistake::Bound | Mistake::Constant) {
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
    let &Family { name: family, text, ref uses, ref large } = family;
    let text = Text::new(text);
    let original = &text;
    let mut reached: Vec<String> = Vec::new();
    let mut own = Found::default();
    for &work in uses {
        let wanted = run(simulated, work, original, None).expect("the shipped kernels run");
        let launched: Vec<&str> = text.names().filter(|name| simulated.counters(name).launches > 0).collect();
        let small = text.only(&launched);
        assert_eq!(run(simulated, work, original, Some(small.shipped())), Some(wanted.clone()), "{family}");
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
    // Swapped operands of corrections, or of what is squared, are below the tolerance or equal.
    own.survivors.retain(|(kernel, mistake, kind)| {
        *mistake != Mistake::Operand && !EQUAL.contains(&(kernel.as_str(), *mistake, kind.as_str()))
    });
    for &work in large {
        if own.survivors.is_empty() {
            break;
        }
        let wanted = run(simulated, work, original, None).expect("the shipped kernels run");
        own.survivors.retain(|(kernel, mistake, kind)| {
            let target =
                Target { simulated, family, original, text: original, kernel, work, wanted: &wanted };
            target.finds(&text.kinds(kernel, *mistake)[kind], *mistake) != Some(true)
        });
    }
    found.single.append(&mut own.single);
    found.everywhere.append(&mut own.everywhere);
    found.survivors.append(&mut own.survivors);
}

/// Runs a family's test in a process of its own, as there is one device in each: so families run side by side.
fn in_a_process(family: &str) {
    let mut own = std::process::Command::new(std::env::current_exe().unwrap());
    own.args([family, "--exact", "--nocapture"])
        .env(OWN, "")
        // Texts and registers of some megabytes come and go by the thousand: glibc would give each back to the system.
        .env("MALLOC_MMAP_THRESHOLD_", "1073741824")
        .env("MALLOC_TRIM_THRESHOLD_", "1073741824")
        .env("DENSEKD_CUDA_LIBRARY", densekd_device::library());
    let done = own.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    // The device names each mistake that it finds: those are wanted.
    let said = said.lines().filter(|line| !line.starts_with("  ") && !line.starts_with("densekd-device: "));
    println!("{}", said.collect::<Vec<_>>().join("\n"));
    assert!(done.status.success(), "{family}: {}", done.status);
}

fn try_it(name: &str) {
    if std::env::var_os(OWN).is_none() {
        return in_a_process(name);
    }
    let simulated = Simulated::open().unwrap();
    let mut found = Found::default();
    try_family(&simulated, &families::by_name(name), &mut found);
    let Found { single, everywhere, survivors } = found;
    println!("in all places of a kind, found: {everywhere:?}");
    println!("in one place, found and not: {single:?}");
    assert!(survivors.is_empty(), "not found: {survivors:?}");
    let [hit, missed] = single.values().fold([0; 2], |[a, b], [x, y]| [a + x, b + y]);
    assert!(2 * hit > missed, "{hit} of {} were found in one place", hit + missed);
}

macro_rules! families {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            try_it(stringify!($name));
        }
    )*};
}

families! { rows swift columns terms numbers wide whole vectors energy classes dist la pa rkd ifvd ho resize project labels }
