using System.CommandLine;

namespace Vhost.Tool;

/// <summary><c>vhost-user describe</c>: prints the file by which management programs find a back-end.</summary>
internal static class DescribeCommand
{
    internal const string Name = "describe";

    private static readonly Argument<ServedDevice> _device = Device();
    private static readonly Option<string> _binary = Binary();

    internal static Command Build()
    {
        Command command = new(Name, "Print the JSON file that tells libvirt and others of a back-end; it belongs into /etc/qemu/vhost-user or /usr/share/qemu/vhost-user.") { _device, _binary };
        command.SetAction(line =>
        {
            ServedDevice device = line.GetRequiredValue(_device);
            string version = typeof(DescribeCommand).Assembly.GetName().Version?.ToString(3) ?? "0";
            DescriptionReport report = new(device.Description, device.Capabilities.Type, line.GetRequiredValue(_binary), [$"vhost-user {version}"]);
            ToolOutput.PrintJson(report, FileJson.Default.DescriptionReport);
            return 0;
        });
        return command;
    }

    private static Argument<ServedDevice> Device() => new("device")
    {
        Description = $"Which: {string.Join(", ", ServedDevice.All.Select(device => device.Command))}.",
        CustomParser = argument =>
        {
            string word = argument.Tokens[0].Value;
            if (ServedDevice.ByCommand(word) is { } device)
                return device;
            argument.AddError($"device '{word}': must be one of {string.Join(", ", ServedDevice.All.Select(known => known.Command))}.");
            return null;
        },
    };

    private static Option<string> Binary()
    {
        Option<string> option = new("--binary")
        {
            Description = "Absolute path of the program, or of a link to it, whose name is vhost-user-DEVICE: under that name it does what 'vhost-user serve DEVICE' does.",
            HelpName = "PATH",
            Required = true,
        };
        option.Validators.Add(result =>
        {
            string path = result.Tokens is [var token, ..] ? token.Value : "";
            if (!Path.IsPathRooted(path) || ServedDevice.ByProgram(path) is null)
                result.AddError($"--binary '{path}': must be an absolute path that ends in {string.Join(" or ", ServedDevice.All.Select(device => device.Program))}.");
        });
        return option;
    }
}
