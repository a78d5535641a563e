using System.Globalization;
using System.IO.Enumeration;

namespace Vhost.Bench.Compare;

/// <summary>What to measure and how, as it was asked for.</summary>
internal sealed record CompareOptions
{
    internal const string Help = """
        bench/run.sh [--quick] [--only PATTERN] [--seconds N] [--cpus BACKEND,FRONTEND] [--no-huge-pages] [--output FILE] [--no-install] [--list]

        Compares this library with the programs of others, both sides started as processes that are bound to the same two processors, in neighbouring
        runs. Prints a table and writes it as JSON. Exit code: 0 everything was measured, 1 a row could not be measured, 2 wrong command line.

          --quick           one round, and fewer rows unless --only names them: under three minutes after the build, more when the processors move
          --only PATTERN    only rows whose names match; * stands for any characters; may be given more than once. allocated/net and allocated/blk
                            come with whatever rows of theirs were measured
          --seconds N       length of each measured interval (1)
          --cpus A,B        processors of back-end and front-end (0,1)
          --no-huge-pages   leave the machine's huge pages alone; the peers and our front-end get ordinary ones
          --output FILE     where the JSON goes (bench/out/compare.json; from the repository's folder on); what was run and what it said goes beside it, *.log
          --no-install      install no programs of peers that are missing; rows without their peer fail
          --list            print the names of the rows and stop
        """;

    public bool Quick { get; init; }

    public IReadOnlyList<string> Only { get; init; } = [];

    public int? AskedSeconds { get; init; }

    public int BackendProcessor { get; init; }

    public int FrontendProcessor { get; init; } = 1;

    public bool HugePages { get; init; } = true;

    public string Output { get; init; } = Path.Combine("bench", "out", "compare.json");

    public bool List { get; init; }

    public bool ShowHelp { get; init; }

    internal int Seconds => AskedSeconds ?? 1;

    /// <summary>Rounds of a row that asks for a number of them.</summary>
    internal int Rounds(int rounds) => Quick ? 1 : rounds;

    internal bool Wants(string row) => Only.Count == 0 || Only.Any(pattern => FileSystemName.MatchesSimpleExpression(pattern, row, ignoreCase: false));

    /// <exception cref="FormatException">The command line is wrong; the message says how.</exception>
    internal static CompareOptions Parse(string[] arguments)
    {
        CompareOptions options = new();
        for (int i = 0; i < arguments.Length; i++)
        {
            string name = arguments[i];
            string Value() => ++i < arguments.Length ? arguments[i] : throw new FormatException($"{name} needs a value.");
            options = name switch
            {
                "--quick" => options with { Quick = true },
                "--only" => options with { Only = [.. options.Only, Value()] },
                "--seconds" => options with { AskedSeconds = Number(name, Value(), 1, 600) },
                "--cpus" => Processors(options, Value()),
                "--no-huge-pages" => options with { HugePages = false },
                "--output" => options with { Output = Value() },
                "--list" => options with { List = true },
                "-h" or "--help" => options with { ShowHelp = true },
                _ => throw new FormatException($"Unknown option '{name}'. See bench/run.sh --help."),
            };
        }

        return options;
    }

    private static CompareOptions Processors(CompareOptions options, string text)
    {
        string[] both = text.Split(',');
        if (both.Length != 2 || both[0] == both[1])
            throw new FormatException($"--cpus '{text}': must be two different processors, for example 0,1.");
        return options with { BackendProcessor = Number("--cpus", both[0], 0, 1023), FrontendProcessor = Number("--cpus", both[1], 0, 1023) };
    }

    private static int Number(string name, string text, int lowest, int highest) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value >= lowest && value <= highest
            ? value
            : throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"{name} '{text}': must be a number from {lowest} to {highest}."));
}
