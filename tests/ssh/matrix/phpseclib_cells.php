<?php
// phpseclib 2 against one server: php phpseclib_cells.php FEATURE PORT KEY DIR, with a key of RSA in PEM: it reads no
// other. What is missing is an error.
require 'phpseclib/autoload.php';

use phpseclib\Crypt\RSA;
use phpseclib\Net\SFTP;
use phpseclib\Net\SSH2;

[, $feature, $port, $key, $dir] = $argv;
set_error_handler(function ($number, $text) {
    // It is older than the PHP that it runs on.
    if (!($number & (E_DEPRECATED | E_USER_DEPRECATED))) {
        throw new Exception($text);
    }
    return true;
});

function check($good, $what)
{
    if (!$good) {
        throw new Exception($what);
    }
}

function connect($class, $port, $key)
{
    $private = new RSA();
    check($private->loadKey(file_get_contents($key)), 'the key does not load');
    $client = new $class('127.0.0.1', (int) $port, 30);
    $client->setTimeout(30);
    check($client->login('root', $private), 'no login');
    return $client;
}

$noise = random_bytes(1000000);
switch ($feature) {
    case 'status':
        foreach (['exit 7' => 7, '/no/such/program' => 127] as $command => $status) {
            $client = connect(SSH2::class, $port, $key);
            $client->exec($command);
            check($client->getExitStatus() === $status, "$command: {$client->getExitStatus()}");
        }
        break;
    case 'stderr':
        $client = connect(SSH2::class, $port, $key);
        $client->enableQuietMode();
        check($client->exec('echo out; echo err >&2') === "out\n", 'the output');
        check($client->getStdError() === "err\n", 'the errors');
        break;
    case 'output':
        file_put_contents("$dir/noise", $noise);
        check(connect(SSH2::class, $port, $key)->exec("cat $dir/noise") === $noise, 'it is not what it was');
        break;
    case 'files':
        $client = connect(SFTP::class, $port, $key);
        check($client->put("$dir/up", $noise), 'put');
        check(file_get_contents("$dir/up") === $noise, 'what was put');
        check($client->get("$dir/up") === $noise, 'what was got');
        break;
    case 'list':
        mkdir("$dir/d");
        file_put_contents("$dir/d/one", '1');
        $client = connect(SFTP::class, $port, $key);
        check($client->rename("$dir/d/one", "$dir/d/over"), 'rename');
        // A link called `soft` that leads to `over`, and not the other way round.
        check($client->symlink('over', "$dir/d/soft"), 'symlink');
        check(readlink("$dir/d/soft") === 'over', 'the link');
        $names = array_values(array_diff($client->nlist("$dir/d"), ['.', '..']));
        sort($names);
        check($names === ['over', 'soft'], implode(' ', $names));
        check($client->delete("$dir/d/soft", false) && $client->delete("$dir/d/over", false), 'delete');
        check($client->rmdir("$dir/d") && !file_exists("$dir/d"), 'rmdir');
        break;
}
