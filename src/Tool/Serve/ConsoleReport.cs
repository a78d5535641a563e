namespace Vhost.Tool;

/// <summary>What <c>serve console --json</c> prints when it ends.</summary>
/// <param name="Socket">Where it served.</param>
/// <param name="BytesFromGuest">Bytes that guests have written.</param>
/// <param name="BytesToGuest">Bytes that guests were given.</param>
internal sealed record ConsoleReport(string Socket, long BytesFromGuest, long BytesToGuest)
{
    internal string ToText() => FormattableString.Invariant($"ended after {BytesFromGuest} bytes from the guest and {BytesToGuest} to it");
}
