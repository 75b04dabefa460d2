//! From a file to checked terms.

use super::error::{ObjectiveError, Place, Problem};
use super::file::{Entry, File, Table};
use super::{Objective, ObjectiveTerm, ProjectStep, Ramp, ResizeStep, Schedule};
use densekd_core::{Loss, Options, Preset, Recipe, ResizeMode, Side, UnknownName, Weight};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use toml::de::DeValue;

/// The keys of a term that are no options of its loss.
const KEYS: [&str; 10] =
    ["name", "loss", "preset", "teacher", "student", "labels", "mask", "schedule", "resize", "project"];

const SIDES: [&str; 2] = ["teacher", "student"];

pub(super) fn read(file: &File<'_>) -> Result<Objective, ObjectiveError> {
    let root = file.parse()?;
    let table = Table::new(file, root.get_ref(), root.span());
    table.only(&["term"])?;
    let none = || ObjectiveError::new(file.place(0..0, None, None), Problem::NoTerms);
    let entry = table.get("term").ok_or_else(none)?;
    let array =
        entry.value.as_array().ok_or_else(|| entry.wrong("a list of tables: begin each with [[term]]"))?;
    let mut terms: Vec<ObjectiveTerm> = Vec::new();
    for item in array {
        let DeValue::Table(fields) = item.get_ref() else {
            return Err(entry.wrong("a list of tables: begin each with [[term]]"));
        };
        let term = term(Table::new(file, fields, item.span()))?;
        if let Some(same) = terms.iter().find(|other| other.name == term.name) {
            return Err(ObjectiveError::new(term.place("name"), Problem::Duplicate(same.place("name"))));
        }
        terms.push(term);
    }
    if terms.is_empty() { Err(entry.fault(Problem::NoTerms)) } else { Ok(Objective { terms }) }
}

fn term(mut table: Table<'_>) -> Result<ObjectiveTerm, ObjectiveError> {
    let name = table.need("name", "name = \"...\"")?.text()?;
    table.term = Some(name.to_owned());
    let (mut options, preset, chosen) = loss(&table)?;
    for entry in table.entries() {
        if !KEYS.contains(&entry.key) {
            set(&mut options, &entry)?;
        }
    }
    if let Some(row) = options.row() {
        Recipe::new(*row).map_err(|error| chosen.fault(Problem::Request(error)))?;
    }
    let text = |key| table.get(key).map(|entry| entry.text().map(str::to_owned)).transpose();
    let mut places = BTreeMap::new();
    let inner = [table.table("resize", "resize.")?, table.table("project", "project.")?];
    for entry in inner.iter().flatten().chain([&table]).flat_map(Table::entries) {
        places.insert(entry.value_place.key.clone().unwrap_or_default(), entry.value_place);
    }
    let term = ObjectiveTerm {
        name: name.to_owned(),
        options,
        preset,
        teacher: text("teacher")?,
        student: table
            .need("student", "student = \"...\", the name of the student's tensor")?
            .text()?
            .to_owned(),
        labels: text("labels")?,
        mask: text("mask")?,
        schedule: schedule(&table)?,
        resize: resize(&table)?,
        project: project(&table)?,
        places,
    };
    term.check_positions()?;
    Ok(term)
}

/// The options to start from, the preset's name, and the key that chose them.
fn loss<'a>(table: &Table<'a>) -> Result<(Options, Option<&'static str>, Entry<'a>), ObjectiveError> {
    match (table.get("loss"), table.get("preset")) {
        (Some(entry), None) => {
            let loss: Result<Loss, UnknownName> = entry.text()?.parse();
            let loss = loss.map_err(|error| entry.fault(Problem::Name(error)))?;
            Ok((loss.defaults(), None, entry))
        }
        (None, Some(entry)) => {
            let name = entry.text()?;
            let preset = Preset::named(name).ok_or_else(|| entry.fault(Problem::Preset(name.to_owned())))?;
            Ok((preset.options, Some(preset.name), entry))
        }
        (Some(entry), Some(_)) => Err(entry.fault(Problem::LossOrPreset)),
        (None, None) => {
            let missing = table.need("loss", "loss = \"cwd\", or preset = \"...\"");
            missing.and_then(|entry| Err(entry.fault(Problem::LossOrPreset)))
        }
    }
}

fn set(options: &mut Options, entry: &Entry<'_>) -> Result<(), ObjectiveError> {
    let known = options.fields().iter().any(|field| field.name == entry.key);
    // What the value is does not matter where there is no such option.
    let value = if known { entry.option()? } else { densekd_core::OptionValue::Null };
    options.set(entry.key, value).map_err(|error| {
        let place: &Place = if known { &entry.value_place } else { &entry.place };
        ObjectiveError::new(place.clone(), Problem::Option(error))
    })
}

fn schedule(table: &Table<'_>) -> Result<Schedule, ObjectiveError> {
    let Some(table) = table.table("schedule", "schedule.")? else { return Ok(Schedule::Constant) };
    let kind = table.need("kind", "kind = \"linear\"")?;
    let steps = || {
        let entry = table.need("steps", "steps = 1000")?;
        let steps = entry.integer().and_then(|steps| NonZeroU64::new(u64::try_from(steps).ok()?));
        steps.ok_or_else(|| entry.wrong("a whole number of at least 1"))
    };
    let ramp = || {
        table.only(&["kind", "from", "to", "steps"])?;
        let end = |key, example| table.need(key, example)?.number(Weight::new);
        Ok(Ramp { from: end("from", "from = 0.0")?, to: end("to", "to = 1.0")?, steps: steps()? })
    };
    match kind.text()? {
        "constant" => table.only(&["kind"]).map(|()| Schedule::Constant),
        "linear" => ramp().map(Schedule::Linear),
        "cosine" => ramp().map(Schedule::Cosine),
        "yolov6" => {
            table.only(&["kind", "steps"])?;
            steps().map(Schedule::yolov6)
        }
        _ => Err(kind.fault(Problem::Name(UnknownName { option: "kind", names: &Schedule::NAMES }))),
    }
}

fn side(table: &Table<'_>) -> Result<Side, ObjectiveError> {
    let entry = table.need("side", "side = \"student\" or side = \"teacher\"")?;
    match entry.text()? {
        "teacher" => Ok(Side::Teacher),
        "student" => Ok(Side::Student),
        _ => Err(entry.fault(Problem::Name(UnknownName { option: "side", names: &SIDES }))),
    }
}

fn resize(table: &Table<'_>) -> Result<Option<ResizeStep>, ObjectiveError> {
    let Some(table) = table.table("resize", "resize.")? else { return Ok(None) };
    table.only(&["side", "mode", "align_corners"])?;
    let side = side(&table)?;
    let entry = table.need("mode", "mode = \"bilinear\"")?;
    let corners = table.get("align_corners");
    let mode = match (entry.text()?, &corners) {
        ("bilinear", None) => ResizeMode::Bilinear { align_corners: false },
        ("bilinear", Some(flag)) => ResizeMode::Bilinear { align_corners: flag.flag()? },
        ("nearest", _) => ResizeMode::Nearest,
        ("area", _) => ResizeMode::Area,
        _ => {
            let error = UnknownName { option: "mode", names: &ResizeMode::NAMES };
            return Err(entry.fault(Problem::Name(error)));
        }
    };
    match (mode, corners) {
        (ResizeMode::Nearest | ResizeMode::Area, Some(flag)) => {
            Err(ObjectiveError::new(flag.place, Problem::AlignCorners(mode.name())))
        }
        _ => Ok(Some(ResizeStep { side, mode })),
    }
}

fn project(table: &Table<'_>) -> Result<Option<ProjectStep>, ObjectiveError> {
    let Some(table) = table.table("project", "project.")? else { return Ok(None) };
    table.only(&["side", "weight", "bias"])?;
    let side = side(&table)?;
    let weight = table.need("weight", "weight = \"...\", the name of a tensor of the student's")?.text()?;
    let bias = table.get("bias").map(|entry| entry.text().map(str::to_owned)).transpose()?;
    Ok(Some(ProjectStep { side, weight: weight.to_owned(), bias }))
}
