//! The registry of codes: numbers, order, explanations.

use super::*;

#[test]
fn every_code_reads_back_and_stands_in_order() {
    for pair in Code::ALL.windows(2) {
        assert!(pair[0].number() < pair[1].number());
    }
    for code in Code::ALL {
        assert_eq!(code.to_string().parse(), Ok(*code));
        assert_eq!(Code::from_number(code.number()), Some(*code));
        let json = serde_json::to_string(code).unwrap();
        assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), *code);
    }
    assert_eq!("e203".parse(), Ok(Code::E203));
    assert_eq!("E999".parse::<Code>(), Err(UnknownCode));
}

#[test]
fn every_code_is_explained_at_length() {
    for code in Code::ALL {
        let text = code.explanation();
        assert!(text.split("\n\n").count() >= 3, "{code}");
        assert!(text.matches(['.', ':']).count() >= 3, "{code}");
        assert!(!text.contains("  "), "{code} holds stray indentation");
        assert!(code.title().chars().count() <= 64, "{code}");
    }
}
