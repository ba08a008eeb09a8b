//! `octaskly hwdetect`: what a worker on this machine would advertise.

use std::process::ExitCode;

use crate::cli::args::HwdetectArgs;
use crate::cli::error::CliError;
use crate::cli::output::{Page, json, text};
use crate::node::hardware::Hardware;

/// Looks and prints.
pub(super) fn perform(args: &HwdetectArgs) -> Result<ExitCode, CliError> {
    let hardware = Hardware::detect();
    let mut page = Page::begin();
    if args.json.json.is_some() {
        page.object(&json::Machine::from(&hardware))?;
        page.line("")?;
    } else {
        for line in screen(&hardware) {
            page.line(line)?;
        }
    }
    page.end()?;
    Ok(ExitCode::SUCCESS)
}

fn screen(hardware: &Hardware) -> Vec<String> {
    let megabytes = hardware.memory_bytes >> 20;
    let mut lines = vec![
        format!("platform  {} {}", hardware.os, hardware.arch),
        format!("cpu       {} cores", text::milli_cores(hardware.cpu)),
        format!("memory    {megabytes} MB ({})", text::bytes(hardware.memory_bytes)),
    ];
    if hardware.gpus.is_empty() {
        lines.push("gpu       none found".to_owned());
    }
    for (index, device) in hardware.gpus.iter().enumerate() {
        lines.push(format!("gpu {index:<5} {}", device.display()));
    }
    let gpu = if hardware.gpus.is_empty() { "" } else { " --gpu true" };
    let cores = hardware.cpu.0 / 1000;
    lines.push(format!("as typed  octaskly worker --cpu-cores {cores} --memory {megabytes}{gpu}"));
    lines
}
