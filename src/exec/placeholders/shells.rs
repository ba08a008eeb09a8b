//! Lines with placeholders, run by the shells of this machine: what arrives is the item, and nothing of it is run.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::exec::placeholders::line::FilledLine;

/// An item that tries every way out of its place.
const HOSTILE: &str =
    "; touch canary; ' \" $(touch canary) `touch canary` \\ * ~ # {} \n touch canary\nEOF\ntouch canary\nB\n";

fn fill(line: &[u8], item: &[u8]) -> Result<FilledLine, Unfit> {
    let item = Item::of(RawString(item.to_vec()));
    ShellLine::read(line, 1).fill(&Placeholders::new(&item, 7), &mut Allowance::whole())
}

/// `/bin/sh`, and the other shells that are installed here and may be `/bin/sh` elsewhere.
fn shells() -> impl Iterator<Item = &'static [&'static str]> {
    let shells: [&[&str]; 4] = [&["/bin/sh"], &["/bin/bash"], &["/bin/bash", "--posix"], &["/bin/busybox", "sh"]];
    shells.into_iter().filter(|shell| Path::new(shell[0]).exists())
}

/// What `filled` prints in `directory`, for the task with this item.
fn output(shell: &[&str], filled: &FilledLine, item: &[u8], directory: &Path) -> Vec<u8> {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg("-c").arg(filled.line.as_os_str()).current_dir(directory).env_clear();
    command.env("PATH", "/usr/bin:/bin").env(ITEM, std::ffi::OsStr::from_bytes(item)).env(INDEX, "7");
    command.envs(filled.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())));
    command.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("a shell runs").stdout
}

fn items() -> [Vec<u8>; 6] {
    let all: Vec<u8> = (1..=255).chain(*b"'\\\n").collect();
    [HOSTILE.into(), all, b"".into(), b"-n".into(), b"a  b".into(), b"3".into()]
}

/// Lines, and what they print; `@` is the item.
const TEMPLATE_LINES: &[(&str, &str)] = &[
    ("printf '<%s>' {} '{}' \"{}\" \\{}", "<@><@><@><@>"),
    ("printf '<%s>' a{}b'c{}d'\"e{}f\"", "<a@bc@de@f>"),
    (
        "printf '<%s>' \"\\{}\" '\\{}' \"\\\"{}\\\"\" \\'{}\\' \"it's {}\" '\"{}\"'",
        "<\\@><\\@><\"@\"><'@'><it's @><\"@\">",
    ),
    ("printf '<%s>' a#{} # it's {}\nprintf '<%s>' {}", "<a#@><@>"),
    ("cat <<EOF\n{} '{}' \\{}\nEOF\necho ok", "@ '@' \\@\nok\n"),
    ("cat <<-EOF\n\t{}\n\tEOF\necho ok", "@\nok\n"),
    ("cat <<'EOF'\n{} $x `y` \\z\nEOF\necho ok", "@ $x `y` \\z\nok\n"),
    ("cat <<\\EOF; cat <<B\n{} \\\\\\\nq\nEOF\n{}\nB\necho ok", "@ \\\\\\\nq\n@\nok\n"),
    ("cat <<EOF\n$(printf %sx {}) `printf %sx '{}'`\nEOF", "@x @x\n"),
    ("printf '<%s>' \"$(printf %sx \"a{}\" 'b{}')\" \"`printf %sx {}`\"", "<a@xb@x><@x>"),
    ("printf '<%s>' `echo \\`echo a\\`` '{}'", "<a><@>"),
    ("case {} in x) echo x;; {}) printf '<%s>' '{}';; *) echo no;; esac", "<@>"),
    ("printf '<%s>' \"$(case x in (x) printf %sx '{}';; esac)\" '{}'", "<@x><@>"),
    ("x={} y='{}' z=\"{}\"; printf '<%s>' \"$x\" \"$y\" \"$z\"", "<@><@><@>"),
    ("f() { printf '<%s>' \"$1\" {}; }; set -- 1 2; f a; printf '<%s>' $# {}", "<a><@><2><@>"),
    ("(printf '<%s>' {}); { printf '<%s>' '{}'; }; for a in {} b; do printf '<%s>' \"$a\"; done", "<@><@><@><b>"),
    ("if [ {} = '{}' ]; then printf %s {}|cat; fi && printf %s {}||printf %s {}", "@@"),
    ("y=z; printf '<%s>' \"$y{}\" \"$y{#}\" $y{#} ${y}'{}'", "<z@><z7><z7><z@>"),
    ("printf '<%s>' $((1+2)) {} ${x:-a} '{}' \"${x:-\"b\"}\" \"{}\"", "<3><@><a><@><b><@>"),
    ("printf '<%s>' {1} {-1} {2} \\\n {1#}", "<@><@><{2}><{1#}>"),
    ("echo {#}>f; cat f", "7\n"),
    ("x{#}=5; echo $x7 {x}", "5 {x}\n"),
    // The ways to give an item to other interpreters.
    ("sh -c 'printf \"<%s>\" \"$1\"' sh {}; sh -c 'printf \"<%s>\" \"$OCTASKLY_ITEM\"'", "<@><@>"),
    ("printf %s {} | sh -c cat; printf %s {} | sed 's/zz/y/' | cat", "@@"),
    ("awk 'BEGIN { printf \"%s\", ENVIRON[\"OCTASKLY_ITEM\"] }'; export X={}; printf '<%s>' \"$X\"", "@<@>"),
    ("sh -s -- {} <<'EOF'\nprintf '<%s>' \"$1\"\nEOF", "<@>"),
];

#[test]
fn an_item_arrives_byte_for_byte_however_its_placeholder_is_quoted() {
    for (line, expected) in TEMPLATE_LINES {
        for item in items() {
            let filled = fill(line.as_bytes(), &item).unwrap_or_else(|unfit| panic!("{line}: {unfit}"));
            let expected: Vec<u8> =
                expected.bytes().flat_map(|byte| if byte == b'@' { item.clone() } else { vec![byte] }).collect();
            for shell in shells() {
                let directory = tempfile::tempdir().expect("a directory");
                let printed = output(shell, &filled, &item, directory.path());
                let [printed, expected] = [&printed, &expected].map(|bytes| String::from_utf8_lossy(bytes));
                assert_eq!(printed, expected, "{shell:?} {line} with {:?}", RawString(item.clone()));
                assert!(!directory.path().join("canary").exists(), "{shell:?} {line}");
            }
        }
    }
}

/// Lines in which an item would be read as code, or as a number.
const CODE: &[&str] = &[
    "sh -c 'echo {}'",
    "bash -c \"echo {}\"",
    "if /bin/sh -c 'x {}'; then :; fi",
    "nice -n 5 bash -euo pipefail -c 'x {}'",
    "env A=b sh -xc 'x {}'",
    "sudo bash -lc 'x {}'",
    "$SHELL -c \"echo {}\"",
    "find . -exec sh -c 'echo {}' \\;",
    "xargs -n1 bash -c 'echo {}'",
    "su bob -c 'x {}'",
    "echo \"`sh -c 'echo {}'`\"",
    "eval {}",
    "x=1 command eval echo '{}'",
    "f() { eval {}; }; f",
    "case x in (x) eval {};; esac",
    "trap \"rm {}\" EXIT",
    "ssh -p 22 h cat {}",
    "ssh h \"cat {}\"",
    "watch ls {}",
    "sh <<EOF\necho {}\nEOF",
    "bash -s <<'EOF'\necho {}\nEOF",
    "cat <<EOF | sh\n{}\nEOF",
    "cat <<EOF |\n{}\nEOF\nsh",
    "ssh h <<EOF\nls {}\nEOF",
    "python3 <<EOF\n{}\nEOF",
    "bash <<< '{}'",
    "echo {} | cat | bash -x",
    "python3 -c 'print(\"{}\")'",
    "perl -MFile::Temp -ne 'print {}'",
    "perl -e{}",
    "awk -F: '/{}/' f",
    "ruby -e 'puts {}'",
    "node -e '{}'",
    "php -r 'echo {};'",
    "echo $(({}+1)) \"$(( {} ))\"",
    "echo $[ {} ]",
    "(( x = {} ))",
    "let x={}",
    "[[ -n x && {} -gt 3 ]]",
    "[[ x\neval {}",
    "eval {} { | cat",
    "bash -c $x ]]{}",
    "a[{}]=1",
    "read {}",
    "export {}",
    "declare -i x={}",
    "printf -v {} x",
    "echo ${x:-{}}",
    "echo $'a{}'",
    "echo $'it\\'s' {}",
    "echo `echo \\`echo {}\\``",
    "cat <<E{}\nx\n",
    "cat <<'E F'\n{}\nE F\n",
    "x=$(cat <<EOF\n{}\nEOF)",
    "echo ${1}",
    "echo \"${}\"",
];

#[test]
fn an_item_is_refused_where_it_would_be_read_as_code() {
    for line in CODE {
        let unfit = fill(line.as_bytes(), HOSTILE.as_bytes()).expect_err(line);
        let text = format!("{unfit} {}", unfit.hint());
        assert!(matches!(unfit, Unfit::Misplaced(_)) && !text.contains(char::is_control), "{line}: {text}");
    }
    let refused = |line: &str, item: &str| fill(line.as_bytes(), item.as_bytes()).expect_err("is no plain word");
    let unfit = refused("env sh -c 'cp \"{}\" x'", "a b");
    assert_eq!(unfit.to_string(), "{} stands in code for sh, and \"a b\" would be read as a part of it");
    assert_eq!(unfit.hint(), "write sh -c 'cp \"$1\" x' sh {}");
    assert_eq!(refused("sh -c {}", "a b").hint(), "write sh -c 'eval \"$1\"' sh {}, when it is meant to be run");
}

#[test]
fn what_is_no_syntax_anywhere_is_put_in_everywhere() {
    let line = |line: &str, item: &str| {
        let filled = fill(line.as_bytes(), item.as_bytes()).unwrap_or_else(|unfit| panic!("{line}: {unfit}"));
        let directory = tempfile::tempdir().expect("a directory");
        String::from_utf8(output(&["/bin/sh"], &filled, item.as_bytes(), directory.path())).expect("text")
    };
    assert_eq!(line("sh -c 'echo {}'; eval echo '{}'", "a/b-1.txt"), "a/b-1.txt\na/b-1.txt\n");
    assert_eq!(line("echo $(({}+1)) ${x:-{}} \"$(( {} ))\"", "-5"), "-4 -5 -5\n");
    assert_eq!(line("((echo {}) | cat)", "a.txt"), "a.txt\n", "dash knows no such arithmetic");
    assert_eq!(line("{}=3; echo $abc ~{}", "abc"), "3 ~abc\n");
    assert_eq!(line("echo `echo \\`echo {}\\``", "x,y:z@1%"), "x,y:z@1%\n");
}

#[test]
fn each_list_has_a_variable_of_its_own() {
    let item = Item::repeated(&"d/a b.c".into(), 2);
    let line = ShellLine::read(b"diff {} {2/} '{1.}' {#}", 2);
    let filled = line.fill(&Placeholders::new(&item, 7), &mut Allowance::whole()).expect("it fits");
    let text = "diff \"${OCTASKLY_ITEM_1}\" \"${OCTASKLY_ITEM_2}\" \"${OCTASKLY_ITEM_2_NAME}\" \
                ''\"${OCTASKLY_ITEM_1_NOEXT}\"'' \"${OCTASKLY_INDEX}\"";
    assert_eq!(filled.line, text.into());
    let names: Vec<String> = filled.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = [
        "OCTASKLY_ITEM_1=d/a b.c",
        "OCTASKLY_ITEM_2=d/a b.c",
        "OCTASKLY_ITEM_2_NAME=a b.c",
        "OCTASKLY_ITEM_1_NOEXT=d/a b",
    ];
    assert_eq!(names, expected);
    assert_eq!(line.show(&Placeholders::new(&item, 7)), b"diff 'd/a b.c' 'd/a b.c' 'a b.c' 'd/a b' 7");
}

/// A word, and what the shell makes of it.
fn word() -> impl Strategy<Value = (String, String)> {
    let text = "[a-z#=]{0,3}";
    let part = prop_oneof![
        Just(("{}".to_owned(), "@".to_owned())),
        text.prop_map(|text| (format!("x{text}"), format!("x{text}"))),
        (text, text).prop_map(|(a, b)| (format!("'{a}\"{{}}\\{b}'"), format!("{a}\"@\\{b}"))),
        (text, text).prop_map(|(a, b)| (format!("\"{a}'{{}}\\\"{b}\""), format!("{a}'@\"{b}"))),
        text.prop_map(|text| (format!("\\'{text}\\{{}}"), format!("'{text}@"))),
    ];
    proptest::collection::vec(part, 1..4).prop_map(|parts| parts.into_iter().unzip())
}

/// A command that prints words, and what it prints.
fn command() -> impl Strategy<Value = (String, String)> {
    let print = proptest::collection::vec(word(), 1..3).prop_map(|words| {
        let (typed, meant): (Vec<_>, Vec<_>) = words.into_iter().unzip();
        (format!("printf '<%s>' {}", typed.join(" ")), format!("<{}>", meant.join("><")))
    });
    print.prop_recursive(3, 12, 2, |inner| {
        let one = inner.clone();
        prop_oneof![
            one.clone().prop_map(|(typed, meant)| (format!("( {typed}\n)"), meant)),
            one.clone().prop_map(|(typed, meant)| (format!("{{ {typed}\n}} | cat"), meant)),
            one.clone().prop_map(|(typed, meant)| (format!("if :; then {typed}\nfi # {{}} '"), meant)),
            one.clone().prop_map(|(typed, meant)| (format!("case {{}} in {{}}) {typed}\n;; esac"), meant)),
            // The dot keeps what is in front of it from the shell, which takes line ends away.
            one.clone().prop_map(|(typed, meant)| {
                (format!("printf '%s]' \"a$( {typed}\nprintf .)b\""), format!("a{meant}.b]"))
            }),
            one.prop_map(|(typed, meant)| {
                // Another word than those of the here-documents in it.
                let end = format!("E{}", typed.len());
                (format!("cat <<{end}\n$( {typed}\nprintf .) \"{{}}'\n{end}"), format!("{meant}. \"@'\n"))
            }),
            (inner.clone(), inner).prop_map(|(a, b)| (format!("{}\n{}", a.0, b.0), a.1 + &b.1)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_quoting_of_any_item_prints_the_item((line, meant) in command(), item in "[ -~\n\t]{0,12}|[\\PC'\"`$(){};\\\\]{0,8}") {
        let filled = fill(line.as_bytes(), item.as_bytes()).map_err(|unfit| TestCaseError::fail(unfit.to_string()))?;
        let directory = tempfile::tempdir().expect("a directory");
        for shell in shells() {
            let printed = output(shell, &filled, item.as_bytes(), directory.path());
            prop_assert_eq!(String::from_utf8_lossy(&printed), meant.replace('@', &item), "{:?} {}", shell, line);
        }
    }

    #[test]
    fn no_line_whatever_runs_its_item(parts in proptest::collection::vec(0..TOKENS.len(), 1..14), item in 0..ESCAPES.len()) {
        let line: String = parts.into_iter().map(|part| TOKENS[part]).collect();
        let Ok(filled) = fill(line.as_bytes(), ESCAPES[item].as_bytes()) else { return Ok(()) };
        let directory = tempfile::tempdir().expect("a directory");
        for shell in shells() {
            output(shell, &filled, ESCAPES[item].as_bytes(), directory.path());
            prop_assert!(!directory.path().join("canary").exists(), "{:?} {:?} with {:?}", shell, line, ESCAPES[item]);
        }
    }
}

/// What a line may be made of. Nothing of it waits for anything, or writes outside of its directory.
const TOKENS: &[&str] = &[
    "{}",
    "{}",
    "{}",
    "{.}",
    "{#}",
    "'",
    "'",
    "\"",
    "\"",
    "`",
    "$(",
    ")",
    "(",
    "((",
    "$((",
    "))",
    "${",
    "x",
    "}",
    "{ ",
    "; ",
    "\n",
    " ",
    "\\",
    "#",
    "<<EOF\n",
    "<<'EOF'\n",
    "\nEOF\n",
    "<<-EOF\n",
    "<<A<<B\n",
    "A\n",
    "\nB\n",
    "$",
    "$'",
    ">f",
    "|",
    "&&",
    "||",
    "=",
    "echo ",
    "printf %s ",
    "eval ",
    "sh -c ",
    "case x in ",
    "x) ",
    ";;",
    " esac ",
    "if :; then ",
    " fi",
    "for i in ",
    "; do ",
    "; done",
    "[[ ",
    " ]]",
    " -eq ",
    "b=",
    "f() ",
    "!",
    "~",
    "*",
    "[",
    "]",
    "a[",
    "$[",
    "export ",
    "let ",
    "trap ",
    " EXIT",
    "-c ",
    "env ",
    "command ",
    "test ",
    "1",
    "2>",
    "$x",
    "${x:-",
    "\t",
    "\r",
    "\\\n",
    "; sh ",
    " | sh",
    "sh <<EOF\n",
];

/// Items that leave one kind of place or another.
const ESCAPES: &[&str] = &[
    "; touch canary;",
    "'; touch canary; '",
    "\"; touch canary; \"",
    "$(touch canary)",
    "`touch canary`",
    "\ntouch canary\n",
    "\nEOF\ntouch canary\n",
    "\nB\ntouch canary\nA\ntouch canary\n",
    "'\"`\ntouch canary\n`\"'",
    "a[$(touch canary)]",
    ")) ; touch canary; ((",
    "}; touch canary; {",
    "); touch canary; (",
    "\\'; touch canary;\\",
    "|touch canary|",
    "esac;touch canary",
];
