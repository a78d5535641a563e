namespace Vhost.Tool;

/// <summary>A device that <c>serve</c> serves. Management programs know only programs, so a link whose name is <see cref="Program"/> serves it without further words.</summary>
/// <param name="Command">The word behind <c>serve</c>.</param>
/// <param name="Description">For people.</param>
/// <param name="Capabilities">What <c>--print-capabilities</c> answers.</param>
internal sealed record ServedDevice(string Command, string Description, CapabilitiesReport Capabilities)
{
    internal static IReadOnlyList<ServedDevice> All { get; } =
    [
        new(ServeBlkCommand.Name, "vhost-user block device", CapabilitiesReport.Block),
        new(ServeRngCommand.Name, "vhost-user entropy device", CapabilitiesReport.Rng),
        new(ServeConsoleCommand.Name, "vhost-user console device", CapabilitiesReport.Console),
        new(ServeSwitchCommand.Name, "vhost-user network switch", CapabilitiesReport.Net),
    ];

    /// <summary>Name of the program that serves it.</summary>
    internal string Program => $"vhost-user-{Command}";

    internal static ServedDevice? ByCommand(string word) => All.FirstOrDefault(device => device.Command == word);

    /// <summary>The device of a program's path; null for any other program.</summary>
    internal static ServedDevice? ByProgram(string path) => All.FirstOrDefault(device => device.Program == Path.GetFileName(path));
}
