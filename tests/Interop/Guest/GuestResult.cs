namespace Vhost.Interop.Tests.Guests;

/// <summary>What came of a line that a guest ran.</summary>
internal sealed record GuestResult(string Command, int ExitCode, IReadOnlyList<string> Output)
{
    internal string Text => string.Join('\n', Output);
}
