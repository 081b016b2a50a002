//! softnet's manual pages and shell completions, made from its command line. A program of its own: none of it is in softnet,
//! which may be setuid.
//!
//! What the options say, clap_mangen writes; what only a person can say (what softnet is, the policy, exit codes, files) is in
//! `sections/`, a file a section, in the macros of man(7). A subcommand has a page of its own, as git's have.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use softnet::cli::Cli;

/// What a person wrote, in the order of man-pages(7): before the options, and after them.
const BEFORE: [&str; 1] = [include_str!("../sections/description.man")];
const AFTER: [&str; 10] = [
    include_str!("../sections/policy.man"),
    include_str!("../sections/privileges.man"),
    include_str!("../sections/exit-status.man"),
    include_str!("../sections/signals.man"),
    include_str!("../sections/environment.man"),
    include_str!("../sections/files.man"),
    include_str!("../sections/security.man"),
    include_str!("../sections/bugs.man"),
    include_str!("../sections/examples.man"),
    include_str!("../sections/see-also.man"),
];

/// Writes `softnet.1`, a page for each subcommand, and `softnet.bash`, `_softnet` and `softnet.fish`. `date` is what the pages
/// say of their age, as in 2026-11-24.
///
/// # Errors
/// A file could not be written.
pub fn write(directory: &Path, date: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (name, page) in pages(date)? {
        fs::write(directory.join(name), page)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "softnet", directory)?;
    }
    Ok(())
}

/// Each page with the name of its file, softnet's own first.
///
/// # Errors
/// None in practice: pages are written to memory.
pub fn pages(date: &str) -> io::Result<Vec<(String, String)>> {
    // No page about `help`, the subcommand.
    let mut command = complete(Cli::command().disable_help_subcommand(true));
    command.build();
    let mut pages = vec![("softnet.1".to_owned(), main_page(&command, date)?)];
    subcommand_pages(&command, date, &mut pages)?;
    Ok(pages)
}

/// An option that `-h` leaves out has its place here: clap_mangen leaves its text out as well.
fn complete(command: Command) -> Command {
    command.mut_args(|option| option.hide_short_help(false)).mut_subcommands(complete)
}

fn subcommand_pages(command: &Command, date: &str, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let man = page_of(subcommand, date);
        let mut page = rendered(|out| man.render_title(out))?;
        page += &rendered(|out| man.render_name_section(out))?;
        page += &rendered(|out| man.render_synopsis_section(out))?;
        page += &rendered(|out| man.render_description_section(out))?;
        page += &options(&man)?;
        if subcommand.get_subcommands().any(|below| !below.is_hide_set()) {
            page += &rendered(|out| man.render_subcommands_section(out))?;
        }
        if subcommand.get_after_help().is_some() || subcommand.get_after_long_help().is_some() {
            page += &rendered(|out| man.render_extra_section(out))?.replacen(".SH EXTRA", ".SH NOTES", 1);
        }
        page += ".SH \"SEE ALSO\"\n.BR softnet (1)\n";
        pages.push((man.get_filename(), page));
        subcommand_pages(subcommand, date, pages)?;
    }
    Ok(())
}

fn main_page(command: &Command, date: &str) -> io::Result<String> {
    let man = page_of(command, date);
    let mut page = rendered(|out| man.render_title(out))?;
    page += &rendered(|out| man.render_name_section(out))?;
    page += &rendered(|out| man.render_synopsis_section(out))?;
    page.extend(BEFORE);
    page += &options(&man)?;
    page += &rendered(|out| man.render_subcommands_section(out))?;
    page.extend(AFTER);
    Ok(page)
}

fn page_of(command: &Command, date: &str) -> Man {
    let version = Cli::command().get_version().map(str::to_owned).unwrap_or_default();
    Man::new(command.clone()).date(date).source(format!("softnet {version}")).manual("User Commands")
}

/// The options, with the headings of `--help` below the one that readers look for.
fn options(man: &Man) -> io::Result<String> {
    let text = rendered(|out| man.render_options_section(out))?;
    // One blank line before the possible values, and not in clap_mangen's way, of which mandoc complains.
    let text = text.replace("\n.br\n\n.br\n", "\n.sp\n");
    Ok(text.lines().fold(".SH OPTIONS\n".to_owned(), |page, line| match line.strip_prefix(".SH ") {
        Some("OPTIONS") => page,
        Some(heading) => page + ".SS " + heading + "\n",
        None => page + line + "\n",
    }))
}

fn rendered(render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<String> {
    let mut bytes = Vec::new();
    render(&mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}
