namespace Vhost.Bench.Compare;

/// <summary>A run that gave no figure; the message is what the row says.</summary>
internal sealed class BenchException : Exception
{
    internal BenchException(string message)
        : base(message)
    {
    }

    /// <summary>A program ended, or ended otherwise than it should have.</summary>
    internal static BenchException Of(string command, ChildProcess.Outcome outcome) => new(
        $"'{command}' ended with exit code {outcome.ExitCode}: {string.Join(" | ", outcome.Errors.Concat(outcome.Output).TakeLast(3))}");
}
